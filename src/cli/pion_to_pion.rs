//! `looprtc pion-to-pion`.

use std::error::Error;
use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, Instant};

use looprtc::driver::{EventLoop, LoopConfig, PeerId};
use looprtc::proto::net::PortPolicy;
use looprtc::proto::peer::{ChannelConfig, ChannelId, ConnectionState, PeerConfig, PeerEvent};
use looprtc::signaling::address::Address;
use looprtc::signaling::pion::{Flow, PionConfig, PionSignaling, Role};

use clap::{ArgMatches, Command, value_parser};

use super::page::Page;
use super::{Entry, Outcome, flag, option, value};
use crate::Usage;

pub const ENTRY: Entry = Entry {
    name: "pion-to-pion",
    options,
    page: &Page {
        about: "Runs pion's pion-to-pion example: two ends find each other by HTTP and send each other a random text \
             every few seconds over a data channel. Interoperates with pion's program, and has the same flags and output.",
        notes: &[
            "Either end may be started first; the offer is repeated for a minute.",
            "By default, as in pion's example, an end listens on every interface at port 50000 (offer) or 60000 \
             (answer), and looks for the other end on this machine. With both, all stays on this machine.",
        ],
        examples: &[
            (
                "looprtc pion-to-pion --interval 1",
                "both ends, on this machine",
            ),
            ("looprtc pion-to-pion --role answer", "the answering end"),
            (
                "looprtc pion-to-pion --role offer --answer-address 192.0.2.7:60000",
                "the offering end, on another machine",
            ),
        ],
        exit: &[
            ("0", "the other end closed, or all texts were received"),
            ("1", "the connection failed, or was never established"),
            ("2", "the options are wrong"),
        ],
    },
    run,
};

const FLOW: &str = "How candidates and the answer travel. trickle: in separate requests, as in pion. \
    response: the answer in the response to the offer, candidates in separate requests. one-exchange: the answer in the \
    response to the offer, candidates inside both";

fn options(command: Command) -> Command {
    let address = |name, help| option(name, "HOST:PORT", help).value_parser(value_parser!(Address));
    command
        .about("Run pion's pion-to-pion example: both ends, or one")
        .arg(
            option("role", "ROLE", "End to run")
                .value_parser(["both", "offer", "answer"])
                .default_value("both"),
        )
        .arg(address("offer-address", "Address of the offering end"))
        .arg(address("answer-address", "Address of the answering end"))
        .arg(
            option("flow", "FLOW", FLOW)
                .value_parser(["trickle", "response", "one-exchange"])
                .hide_possible_values(true)
                .default_value("trickle"),
        )
        .arg(
            option("interval", "SECONDS", "Time between texts")
                .value_parser(value_parser!(f64))
                .default_value("5"),
        )
        .arg(
            option(
                "texts",
                "NUMBER",
                "Stop once every end has received this many texts, with status 0",
            )
            .value_parser(value_parser!(usize)),
        )
        .arg(flag(
            "loopback",
            "Offer loopback addresses too (always with both)",
        ))
}

fn run(options: &ArgMatches) -> Outcome {
    let seconds = value(options, "interval").unwrap_or(5.0);
    let flow: String = value(options, "flow").unwrap_or_default();
    talk(&Options {
        roles: match value::<String>(options, "role").as_deref() {
            Some("offer") => vec![Role::Offer],
            Some("answer") => vec![Role::Answer],
            _ => vec![Role::Offer, Role::Answer],
        },
        offer_address: value(options, "offer-address"),
        answer_address: value(options, "answer-address"),
        flow: flow
            .parse()
            .map_err(|error| Usage(format!("--flow {flow}: {error}")))?,
        interval: Duration::try_from_secs_f64(seconds)
            .map_err(|error| Usage(format!("--interval {seconds}: {error}")))?,
        texts: value(options, "texts"),
        loopback: options.get_flag("loopback"),
    })
}

struct Options {
    roles: Vec<Role>,
    offer_address: Option<Address>,
    answer_address: Option<Address>,
    flow: Flow,
    interval: Duration,
    texts: Option<usize>,
    loopback: bool,
}

/// One side of the session.
struct End {
    /// Prefix of each output line, which distinguishes two sides.
    prefix: &'static str,
    peer: PeerId,
    signaling: PionSignaling,
    /// Open channels, and the time of the next text on each.
    channels: Vec<(ChannelId, Instant)>,
    heard: usize,
}

fn talk(options: &Options) -> Result<(), Box<dyn Error>> {
    let mut net = EventLoop::new(LoopConfig::default())?;
    let mut ends = Vec::new();
    for role in &options.roles {
        ends.push(End::start(&mut net, *role, options)?);
    }
    loop {
        let due = ends.iter().filter_map(End::due).min();
        let wait = due.map(|due| due.saturating_duration_since(Instant::now()));
        let event = net.next_event(wait)?;
        for end in &mut ends {
            end.signaling.on_turn(&mut net, event.as_ref())?;
        }
        if let Some((peer, event)) = event
            && let Some(end) = ends.iter_mut().find(|end| end.peer == peer)
        {
            let goes_on = end.on_event(&mut net, event, options.interval)?;
            if !goes_on {
                return Ok(());
            }
        }
        for end in &mut ends {
            end.send_what_is_due(&mut net, options.interval)?;
        }
        if options
            .texts
            .is_some_and(|texts| ends.iter().all(|end| end.heard >= texts))
        {
            // Also ensures that the last text is delivered.
            return Ok(net.shutdown(Duration::from_secs(2))?);
        }
    }
}

impl End {
    fn start(net: &mut EventLoop, role: Role, options: &Options) -> Result<Self, Box<dyn Error>> {
        let both = options.roles.len() > 1;
        let mut signaling = PionConfig::new(role).flow(options.flow);
        if both {
            signaling = signaling
                .offer_address(Address::new("127.0.0.1", 50000))
                .answer_address(Address::new("127.0.0.1", 60000));
        }
        if let Some(address) = &options.offer_address {
            signaling = signaling.offer_address(address.clone());
        }
        if let Some(address) = &options.answer_address {
            signaling = signaling.answer_address(address.clone());
        }
        // Two peers of one loop cannot share a port when they connect to each other: each one's remote address would be
        // its own.
        let port = if both {
            PortPolicy::Own
        } else {
            PortPolicy::Shared
        };
        let config = PeerConfig::default()
            .port(port)
            .include_loopback(options.loopback || both);
        let peer = net.add_peer(config)?;
        if role == Role::Offer {
            net.peer(peer)?
                .create_data_channel(ChannelConfig::new("data"))?;
        }
        Ok(Self {
            prefix: match (both, role) {
                (false, _) => "",
                (true, Role::Offer) => "offer:  ",
                (true, Role::Answer) => "answer: ",
            },
            peer,
            signaling: PionSignaling::start(net, peer, signaling)?,
            channels: Vec::new(),
            heard: 0,
        })
    }

    fn due(&self) -> Option<Instant> {
        self.channels.iter().map(|(_, due)| *due).min()
    }

    /// Handles an event. Returns `false` once the connection is closed.
    fn on_event(
        &mut self,
        net: &mut EventLoop,
        event: PeerEvent,
        interval: Duration,
    ) -> Result<bool, Box<dyn Error>> {
        let prefix = self.prefix;
        match event {
            PeerEvent::ConnectionStateChange(state) => {
                say!("{prefix}Peer Connection State has changed: {state}");
                if state == ConnectionState::Failed {
                    say!("{prefix}Peer Connection has gone to failed exiting");
                    return Err("the connection was lost, or never came about".into());
                }
                return Ok(state != ConnectionState::Closed);
            }
            PeerEvent::DataChannel(channel) => {
                let (label, id) = self.name(net, channel);
                say!("{prefix}New DataChannel {label} {id}");
            }
            PeerEvent::ChannelOpen(channel) => {
                let (label, id) = self.name(net, channel);
                say!(
                    "{prefix}Data channel '{label}'-'{id}' open. Random messages will now be sent \
                     to any connected DataChannels every {} seconds",
                    interval.as_secs_f64()
                );
                self.channels.push((channel, Instant::now() + interval));
            }
            PeerEvent::ChannelMessage { channel, message } => {
                let (label, _) = self.name(net, channel);
                let text = String::from_utf8_lossy(message.as_bytes());
                say!("{prefix}Message from DataChannel '{label}': '{text}'");
                self.heard += 1;
            }
            PeerEvent::ChannelClosed(channel) => self.channels.retain(|(open, _)| *open != channel),
            PeerEvent::Error(error) => eprintln!("{prefix}{error}"),
            _ => {}
        }
        Ok(true)
    }

    fn send_what_is_due(
        &mut self,
        net: &mut EventLoop,
        interval: Duration,
    ) -> Result<(), Box<dyn Error>> {
        let now = Instant::now();
        for (channel, due) in self.channels.iter_mut().filter(|(_, due)| *due <= now) {
            let text = random_text();
            say!("{}Sending '{text}'", self.prefix);
            net.peer(self.peer)?.send_text(*channel, &text)?;
            *due = now + interval;
        }
        Ok(())
    }

    /// Returns a channel's label and stream id.
    fn name(&self, net: &mut EventLoop, channel: ChannelId) -> (String, u16) {
        let info = net
            .peer(self.peer)
            .ok()
            .and_then(|mut peer| peer.channel(channel));
        info.map_or_else(Default::default, |info| {
            (info.config.label, info.stream_id.unwrap_or_default())
        })
    }
}

/// Returns fifteen random letters.
fn random_text() -> String {
    const LETTERS: &[u8] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    // Each `RandomState` hashes differently, which is random enough to distinguish texts.
    let letter = |_| LETTERS[RandomState::new().hash_one(0) as usize % LETTERS.len()];
    (0..15).map(letter).map(char::from).collect()
}
