//! Cameras by the API: their JSON, and what becomes of it.

use std::collections::BTreeMap;

use crate::server::cameras::{Camera, Fields, contents, parse};

/// How the kinds that the API may open are described.
const KINDS: [&str; 4] = ["camera, rtsp", "WHEP, http", "RTP, ", "WHIP publisher"];

/// One JSON object per line: the first is a camera, each further one an edit.
pub fn camera_settings(data: &[u8]) {
    let mut camera: Option<Camera> = None;
    for line in data.split(|byte| *byte == b'\n').take(16) {
        let made = Fields::read(line).and_then(|fields| Camera::new(fields, camera.as_ref()));
        match made {
            Ok(made) => {
                check(&made);
                camera = Some(made);
            }
            Err(wrong) => {
                assert!(!wrong.is_empty());
                for invalid in wrong {
                    assert!(!invalid.why.is_empty() && invalid.why.len() < 8192);
                }
            }
        }
    }
}

fn check(camera: &Camera) {
    let source = camera.source().expect("it was checked");
    let described = source.to_string();
    assert!(
        KINDS.iter().any(|kind| described.starts_with(kind)),
        "{described}"
    );
    assert!(source.names_no_files());
    // The file keeps it as it is, in one line.
    let all = BTreeMap::from([("a".to_owned(), camera.clone())]);
    let text = contents(&all);
    assert_eq!(text.lines().count(), 2);
    assert_eq!(parse(text.as_bytes()), Ok(all));
    // What is shown can be sent back, and says nothing of the password.
    let shown = camera.shown().to_string();
    let fields = Fields::read(shown.as_bytes()).expect("what is shown can be read");
    assert_eq!(Camera::new(fields, Some(camera)).as_ref(), Ok(camera));
}
