//! The example `which_nat`, behind each kind of NAT.

use std::path::PathBuf;

use crate::lab::{Kind, Lab, ready};
use crate::server::Coturn;

/// `cargo test` builds all examples, beside the directory of this test.
fn program() -> PathBuf {
    let test = std::env::current_exe().expect("this test has a path");
    let profile = test
        .parent()
        .and_then(|p| p.parent())
        .expect("target/debug");
    let program = profile.join("examples").join("which_nat");
    assert!(
        program.exists(),
        "{} is not built; run `cargo build --examples`",
        program.display()
    );
    program
}

/// Returns its output.
fn ask(kind: Kind) -> String {
    let lab = Lab::new(kind, Kind::PortRestricted);
    let _server = Coturn::start(&lab, &[]);
    let output = lab
        .command("a", &program().display().to_string())
        .args(["203.0.113.10:3478", "203.0.113.20:3478"])
        .args(["--tcp", "203.0.113.10:3478", "--tcp", "203.0.113.10:443"])
        .output()
        .expect("the example runs");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    println!("{}:\n{said}", kind.name());
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    said
}

#[test]
fn which_nat_tells_them_apart() {
    if !ready() {
        return;
    }
    let expected: [(Kind, &[&str]); 7] = [
        (
            Kind::None,
            &[
                "Mapping: none",
                "Filtering: endpoint-independent",
                "no NAT, and no firewall",
            ],
        ),
        (
            Kind::Cone,
            &[
                "Mapping: endpoint-independent",
                "Filtering: endpoint-independent",
                "Hairpin: no",
                "a full-cone NAT",
            ],
        ),
        (
            Kind::Hairpin,
            &[
                "Mapping: endpoint-independent",
                "Hairpin: yes",
                "a full-cone NAT",
            ],
        ),
        (
            Kind::PortRestricted,
            &[
                "Mapping: endpoint-independent",
                "Filtering: address- and port-dependent",
                "Hairpin: no",
                "a restricted NAT",
            ],
        ),
        (
            Kind::Symmetric,
            &[
                "Mapping: endpoint-dependent",
                "Filtering: address- and port-dependent",
                "a symmetric NAT",
            ],
        ),
        (
            Kind::UdpBlocked,
            &[
                "UDP: no",
                "TCP to 203.0.113.10:3478: yes",
                "by TCP or TLS to 203.0.113.10:3478, 203.0.113.10:443",
            ],
        ),
        (
            Kind::Tcp443,
            &[
                "UDP: no",
                "TCP to 203.0.113.10:3478: no",
                "by TCP or TLS to 203.0.113.10:443",
            ],
        ),
    ];
    for (kind, lines) in expected {
        let said = ask(kind);
        for line in lines {
            assert!(
                said.contains(line),
                "{line:?} is missing behind {kind:?}:\n{said}"
            );
        }
    }
}
