//! The call relay, with plain values as sockets.

use serde_json::{Value, json};

use super::*;

struct Exchange {
    calls: Calls,
    now: Instant,
}

const ANNA: WebSocketId = WebSocketId(1);
const BERT: WebSocketId = WebSocketId(2);
const CLARA: WebSocketId = WebSocketId(3);

impl Exchange {
    fn new(config: CallsConfig) -> Self {
        Self {
            calls: Calls::new(config),
            now: Instant::now(),
        }
    }

    fn with_both() -> Self {
        let mut exchange = Self::new(CallsConfig::default());
        exchange.open(ANNA, "userId=anna");
        exchange.open(BERT, "");
        exchange.say(BERT, json!({ "type": "signin", "userId": "bert" }));
        let said: Vec<_> = exchange
            .said()
            .into_iter()
            .map(|(s, v)| (s, v["type"].clone()))
            .collect();
        assert_eq!(said, [(ANNA, json!("signedin")), (BERT, json!("signedin"))]);
        exchange
    }

    fn open(&mut self, socket: WebSocketId, query: &str) {
        let mut request = Request::new("GET", "/call/ws", ([127, 0, 0, 1], 1).into());
        request.query = query.into();
        self.calls.socket_opened(socket, &request, self.now);
    }

    fn say(&mut self, socket: WebSocketId, message: Value) {
        self.calls
            .socket_message(socket, &message.to_string(), self.now);
    }

    fn said(&mut self) -> Vec<(WebSocketId, Value)> {
        let outputs = std::iter::from_fn(|| self.calls.poll_socket());
        outputs
            .map(|output| match output {
                SocketOutput::Send(socket, text) => (socket, serde_json::from_str(&text).unwrap()),
                SocketOutput::Close(socket, code, _) => (socket, code.into()),
            })
            .collect()
    }

    fn later(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
        self.calls.handle_timeout(self.now);
    }
}

fn message(kind: &str, from: &str, to: &str) -> Value {
    json!({ "type": kind, "userId": from, "targetUid": to, "sdp": "v=0\r\n", "more": [1] })
}

#[test]
fn what_is_said_reaches_the_other_as_it_is() {
    let mut exchange = Exchange::with_both();
    for kind in ["offer", "candidate", "ring", "bye"] {
        exchange.say(ANNA, message(kind, "anna", "bert"));
        assert_eq!(exchange.said(), [(BERT, message(kind, "anna", "bert"))]);
    }
    assert_eq!(exchange.calls.stats().relayed, 4);
    assert_eq!(exchange.calls.stats().users, 2);
}

#[test]
fn nobody_speaks_for_somebody_else() {
    let mut exchange = Exchange::with_both();
    exchange.say(ANNA, message("offer", "bert", "anna"));
    exchange.open(CLARA, "");
    exchange.say(CLARA, message("offer", "clara", "anna"));
    exchange.say(CLARA, json!({ "type": "signin", "userId": "anna" }));
    exchange.say(ANNA, json!({ "type": "signin", "userId": "bert" }));
    exchange.say(ANNA, message("unavailable", "anna", "bert"));
    exchange.say(ANNA, message("offer", "anna", "anna"));
    let said = exchange.said();
    let expected = [
        (ANNA, "not who this socket"),
        (CLARA, "sign in first"),
        (CLARA, "name is taken"),
        (ANNA, "signed in already"),
        (ANNA, "for the server to say"),
        (ANNA, "themselves"),
    ];
    assert_eq!(said.len(), expected.len(), "{said:?}");
    for ((socket, said), (expected, why)) in said.iter().zip(expected) {
        assert_eq!((*socket, &said["type"]), (expected, &json!("error")));
        assert!(said["message"].as_str().unwrap().contains(why), "{said}");
    }
}

#[test]
fn the_caller_is_told_when_nobody_is_there() {
    let mut exchange = Exchange::with_both();
    exchange.say(ANNA, message("offer", "anna", "nobody"));
    let unavailable = json!({ "type": "unavailable", "targetUid": "nobody", "of": "offer" });
    assert_eq!(exchange.said(), [(ANNA, unavailable)]);
    exchange.say(BERT, json!({ "type": "signout" }));
    exchange.say(ANNA, message("offer", "anna", "bert"));
    assert_eq!(exchange.said()[0].1["type"], "unavailable");
    // The name is free again.
    exchange.open(CLARA, "userId=bert");
    assert_eq!(exchange.said()[0].1["userId"], "bert");
}

#[test]
fn who_is_gone_for_long_is_forgotten() {
    let mut exchange = Exchange::with_both();
    let key = exchange.calls.users["bert"].resume.expose().to_owned();
    exchange.say(ANNA, message("offer", "anna", "bert"));
    exchange.said();
    exchange.calls.socket_closed(BERT, exchange.now);
    exchange.later(29);
    exchange.say(ANNA, message("candidate", "anna", "bert"));
    assert_eq!(exchange.said()[0].1["type"], "unavailable");
    // Back in time: nothing has changed. The name is reserved for the holder of the key.
    exchange.open(WebSocketId(4), "userId=bert");
    assert_eq!(exchange.said()[0].1["type"], "error");
    exchange.open(CLARA, &format!("userId=bert&resume={key}"));
    exchange.later(60);
    let said = exchange.said();
    assert_eq!((said.len(), &said[0].1["type"]), (2, &json!("signedin")));
    assert_eq!(said[1], (WebSocketId(4), json!(1008)));
    exchange.say(CLARA, message("offer", "bert", "anna"));
    assert_eq!(exchange.said()[0].0, ANNA);
    exchange.calls.socket_closed(CLARA, exchange.now);
    exchange.later(30);
    let said = exchange.said();
    assert_eq!((said[0].0, &said[0].1["type"]), (ANNA, &json!("bye")));
    assert_eq!(said[0].1["userId"], "bert");
    exchange.calls.socket_closed(ANNA, exchange.now);
    exchange.later(100);
    assert!(exchange.calls.users.is_empty() && exchange.calls.sockets.is_empty());
    assert_eq!(exchange.calls.next_deadline(), None);
}

#[test]
fn who_is_back_before_it_was_missed_takes_over() {
    let mut exchange = Exchange::with_both();
    exchange.say(ANNA, message("offer", "anna", "bert"));
    exchange.said();
    let resume = exchange.calls.users["bert"].resume.expose().to_owned();
    exchange.open(CLARA, "");
    exchange.say(
        CLARA,
        json!({ "type": "signin", "userId": "bert", "resume": resume }),
    );
    let said = exchange.said();
    assert_eq!(said[0], (BERT, json!(1000)));
    assert_eq!(said[1].1["resume"], json!(resume));
    exchange.calls.socket_closed(BERT, exchange.now);
    exchange.say(ANNA, message("candidate", "anna", "bert"));
    assert_eq!(exchange.said()[0].0, CLARA);
}

#[test]
fn both_gone_is_nobody_left() {
    let mut exchange = Exchange::with_both();
    exchange.say(ANNA, message("offer", "anna", "bert"));
    exchange.calls.socket_closed(ANNA, exchange.now);
    exchange.calls.socket_closed(BERT, exchange.now);
    assert_eq!(exchange.calls.users.len(), 2);
    exchange.later(30);
    assert!(exchange.calls.users.is_empty());
}

#[test]
fn nobody_is_waited_for_when_the_call_is_over() {
    let mut exchange = Exchange::with_both();
    exchange.say(ANNA, message("offer", "anna", "bert"));
    exchange.calls.socket_closed(BERT, exchange.now);
    exchange.say(ANNA, message("bye", "anna", "bert"));
    exchange.calls.check();
    exchange.later(30);
    exchange.open(CLARA, "userId=bert");
    assert_eq!(exchange.said().last().unwrap().1["type"], "signedin");
}

/// S16: a user who loses the socket for a moment does not lose the name to another user, in a call or not.
#[test]
fn a_name_is_kept_for_who_lost_the_socket() {
    let mut exchange = Exchange::with_both();
    let key = exchange.calls.users["bert"].resume.expose().to_owned();
    exchange.calls.socket_closed(BERT, exchange.now);
    exchange.calls.check();
    exchange.open(CLARA, "userId=bert");
    let said = exchange.said();
    assert!(
        said[0].1["message"]
            .as_str()
            .unwrap()
            .contains("name is taken")
    );
    exchange.later(20);
    exchange.open(WebSocketId(4), &format!("userId=bert&resume={key}"));
    assert_eq!(exchange.said().last().unwrap().1["type"], "signedin");
    exchange.say(ANNA, message("offer", "anna", "bert"));
    assert_eq!(exchange.said()[0].0, WebSocketId(4));
    exchange.calls.check();
}

#[test]
fn who_signs_out_leaves_nothing_behind() {
    let mut exchange = Exchange::with_both();
    exchange.say(ANNA, message("offer", "anna", "bert"));
    exchange.said();
    exchange.say(BERT, json!({ "type": "signout" }));
    let said = exchange.said();
    assert_eq!((said[0].0, &said[0].1["type"]), (ANNA, &json!("bye")));
    exchange.calls.check();
    exchange.say(BERT, json!({ "type": "signin", "userId": "berta" }));
    assert_eq!(exchange.said()[0].1["userId"], "berta");
    exchange.calls.check();
}

#[test]
fn one_client_has_so_many_names() {
    let mut exchange = Exchange::new(CallsConfig::default().max_per_client(2));
    exchange.open(ANNA, "userId=anna");
    exchange.open(BERT, "userId=bert");
    exchange.calls.socket_closed(BERT, exchange.now);
    exchange.said();
    exchange.open(CLARA, "userId=clara");
    let said = exchange.said();
    assert!(
        said[0].1["message"]
            .as_str()
            .unwrap()
            .contains("this address")
    );
    let mut other = Request::new("GET", "/call/ws", ([192, 0, 2, 1], 1).into());
    other.query = "userId=dora".into();
    exchange
        .calls
        .socket_opened(WebSocketId(5), &other, exchange.now);
    assert_eq!(exchange.said()[0].1["type"], "signedin");
    exchange.later(30);
    exchange.open(WebSocketId(6), "userId=clara");
    assert_eq!(exchange.said().last().unwrap().1["type"], "signedin");
    exchange.calls.check();
}

#[test]
fn a_name_hides_nothing() {
    let mut exchange = Exchange::with_both();
    for name in ["an\u{200b}na", "anna\u{202e}", "\u{430}nna"] {
        exchange.open(CLARA, "");
        exchange.say(CLARA, json!({ "type": "signin", "userId": name }));
        assert_eq!(exchange.said()[0].1["type"], "error", "{name:?}");
    }
}

#[test]
fn limits() {
    let config = CallsConfig {
        max_users: 2,
        max_calls: 1,
        ..CallsConfig::default()
    };
    let mut exchange = Exchange::new(config);
    exchange.open(ANNA, "userId=anna");
    exchange.open(BERT, "userId=bert");
    exchange.open(CLARA, "userId=clara");
    assert_eq!(exchange.said()[2], (CLARA, json!(1013)));
    exchange.say(
        ANNA,
        json!({ "type": "offer", "more": "x".repeat(65 * 1024) }),
    );
    assert_eq!(exchange.said(), [(ANNA, json!(1009))]);
    for _ in 0..300 {
        exchange.say(BERT, message("x", "bert", "anna"));
    }
    assert_eq!(exchange.said().last(), Some(&(BERT, json!(1008))));
    assert!(exchange.calls.sockets.is_empty());

    exchange.open(ANNA, "");
    exchange.later(30);
    assert_eq!(exchange.said(), [(ANNA, json!(1008))]);
    for (socket, name) in [(ANNA, "userId=anna"), (BERT, "userId=bert")] {
        exchange.open(socket, name);
    }
    exchange.calls.config.max_users = 3;
    exchange.open(CLARA, "userId=clara");
    exchange.say(ANNA, message("offer", "anna", "bert"));
    exchange.say(ANNA, message("offer", "anna", "bert"));
    exchange.said();
    exchange.say(CLARA, message("offer", "clara", "bert"));
    assert_eq!(exchange.said()[0].1["type"], "error");
    exchange.say(BERT, message("bye", "bert", "anna"));
    exchange.say(CLARA, message("offer", "clara", "bert"));
    assert_eq!(exchange.said().last().unwrap().0, BERT);
}

#[test]
fn what_is_no_message() {
    let mut exchange = Exchange::with_both();
    for text in [
        "",
        "{",
        "[]",
        "{}",
        r#"{"type":7}"#,
        r#"{"type":"offer"}"#,
        r#"{"type":"a b","userId":"anna"}"#,
    ] {
        exchange.calls.socket_message(ANNA, text, exchange.now);
        assert_eq!(exchange.said()[0].1["type"], "error", "{text}");
    }
    exchange.open(CLARA, "userId=%20");
    assert_eq!(exchange.said()[0].1["type"], "error");
    assert_eq!(exchange.calls.stats().bad_messages, 8);
}
