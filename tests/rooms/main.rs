//! Rooms and calls with real browsers, and with other clients of the protocol of pion's sfu-ws example.
//!
//! Without Chromium, Node or playwright-core (`tests/setup` installs them) this is not tested. That is reported, and
//! fails if the environment variable `CI` is set.
#![cfg(all(target_os = "linux", feature = "server"))]

#[path = "../support/chromium.rs"]
mod chromium;
mod server;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;

use chromium::space::Space;
use chromium::{in_chromium, in_space, not_tested};
use server::Server;

/// Four pages with cameras are enough for one machine: one test at a time.
static MACHINE: Mutex<()> = Mutex::new(());

fn interop(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/interop")
        .join(path)
}

/// A program that is killed when dropped, and its output.
struct Program {
    child: Child,
    lines: BufReader<std::process::ChildStdout>,
}

impl Program {
    /// Returns `None`, and reports it, if it is not installed.
    fn start(program: &Path, words: &[&str]) -> Option<Self> {
        let started = Command::new(program)
            .args(words)
            .stdout(Stdio::piped())
            .spawn();
        match started {
            Ok(mut child) => {
                let lines = BufReader::new(child.stdout.take()?);
                Some(Self { child, lines })
            }
            Err(why) => {
                not_tested(&format!(
                    "{}: {why} (tests/setup makes it)",
                    program.display()
                ));
                None
            }
        }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn four_pages_in_a_room() {
    let _alone = MACHINE.lock();
    let server = Server::start(None);
    in_chromium("room", server.url());
}

#[test]
fn layers_by_the_path_of_the_receiver() {
    let _alone = MACHINE.lock();
    let server = Server::start(None);
    in_chromium("room_layers", server.url());
}

#[test]
fn a_narrow_path_for_one_receiver() {
    let _alone = MACHINE.lock();
    let server = Server::start(None);
    in_chromium("room_narrow", server.url());
}

#[test]
fn a_page_of_sfu_ws() {
    let _alone = MACHINE.lock();
    let server = Server::start(None);
    in_chromium("room_sfu_ws", server.url());
}

#[test]
fn a_call() {
    let _alone = MACHINE.lock();
    let server = Server::start(None);
    in_chromium("call", server.url());
}

#[test]
fn a_call_when_the_network_is_gone_for_five_seconds() {
    let _alone = MACHINE.lock();
    let Some(space) = Space::new() else {
        return;
    };
    let server = Server::start(Some(space.name().to_owned()));
    in_space("call_without_network", server.url(), space.name());
}

#[test]
fn our_page_at_pions_server() {
    let _alone = MACHINE.lock();
    let pages = std::env::temp_dir().join(format!("looprtc-pages-{}", std::process::id()));
    our_pages(&pages);
    let pion = Program::start(&interop("bin/pion-sfu"), &[pages.to_str().unwrap()]);
    if let Some(mut pion) = pion {
        let url = pion.line();
        in_chromium("room_at_pion", url);
    }
    std::fs::remove_dir_all(&pages).unwrap();
}

/// Writes the scripts and styles of our pages into a directory, and the page of a room as our server sends it.
fn our_pages(to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/server/pages");
    for file in std::fs::read_dir(sources).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), to.join(file.file_name())).unwrap();
    }
    let server = Server::start(None);
    let mut stream = TcpStream::connect(server.address).unwrap();
    let request = "GET /room/pion HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).unwrap();
    let (head, page) = response.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    std::fs::write(to.join("room.html"), page).unwrap();
}

#[test]
fn aiortc_in_a_room() {
    let _alone = MACHINE.lock();
    let server = Server::start(None);
    let script = interop("peers/aiortc_room.py");
    let url = format!("ws://{}/websocket?name=aiortc", server.address);
    let python = interop(".venv/bin/python");
    let Some(mut aiortc) = Program::start(&python, &[script.to_str().unwrap(), &url]) else {
        return;
    };
    assert_eq!(aiortc.line(), "decoded 0");
    in_chromium("room_with_aiortc", server.url());
    aiortc.child.kill().unwrap();
    let mut decoded = 0;
    loop {
        let line = aiortc.line();
        match line.strip_prefix("decoded ").map(str::parse::<u32>) {
            Some(Ok(frames)) => decoded = frames,
            _ => break,
        }
    }
    println!("aiortc has decoded {decoded} frames of Chromium's");
    assert!(decoded > 20, "aiortc has decoded {decoded} frames");
}
