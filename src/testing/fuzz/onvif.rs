//! Answers of ONVIF devices.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::Bytes;
use crate::proto::onvif::{
    DeviceQuery, Discovery, FoundDevice, MAX_DEVICES, MAX_PROFILES, ServiceAddress,
};
use crate::proto::rtsp::Credentials;

/// Takes a datagram that answers a search, or the responses of one device, each with its status and length before it: the
/// first byte selects which.
pub fn onvif(data: &[u8]) {
    let mut bytes = Bytes(data);
    match bytes.byte() {
        0 => answer(bytes.0),
        _ => responses(bytes),
    }
}

fn answer(contents: &[u8]) {
    let now = Instant::now();
    let mut discovery = Discovery::new(Duration::from_secs(1), Some(1), now);
    for last in 1..=2 {
        let source = SocketAddr::from(([10, 0, 0, last], 3702));
        discovery.handle_datagram(source, contents);
        discovery.handle_datagram(source, contents);
    }
    let found: Vec<&FoundDevice> = discovery.found().collect();
    assert!(found.len() <= MAX_DEVICES && (found.len() == 2 || discovery.ignored() == 4));
    for device in found {
        check(device);
    }
}

fn check(device: &FoundDevice) {
    assert_eq!(
        device.service.address.ip(),
        device.ip,
        "sent to a third party"
    );
    assert!(device.service.path.starts_with('/'));
    assert!(!device.service.path.contains(char::is_whitespace));
    for text in [&device.name, &device.hardware, &device.location]
        .into_iter()
        .flatten()
    {
        assert!(
            !text.is_empty() && !text.contains(char::is_control),
            "{text:?}"
        );
    }
}

fn responses(mut bytes: Bytes<'_>) {
    let now = Instant::now();
    let found = FoundDevice::at(ServiceAddress::usual([10, 0, 0, 1].into()));
    let credentials = Credentials::new("admin", "d3adb33f");
    let mut query = DeviceQuery::new(
        found,
        Some(credentials),
        Duration::from_secs(1 << 30),
        Some(1),
        now,
    );
    let mut requests = 0;
    while let Some(request) = query.poll_request(now) {
        requests += 1;
        assert!(requests <= 4 + 2 * MAX_PROFILES, "asked without an end");
        assert_eq!(
            request.service.address.ip(),
            query.device().found.ip,
            "sent to a third party"
        );
        assert!(!request.body.contains("d3adb33f"));
        let (status, length) = (bytes.word(), bytes.word());
        query.handle_response(status, bytes.take(length.into()), now);
    }
    let device = query.device();
    check(&device.found);
    assert!(device.streams.len() <= MAX_PROFILES);
    for uri in device
        .streams
        .iter()
        .filter_map(|stream| stream.uri.as_ref())
    {
        assert!(uri.credentials().is_none());
    }
    for text in device
        .streams
        .iter()
        .map(|s| &s.profile)
        .chain(&device.model)
        .chain(&device.problem)
    {
        assert!(!text.contains(char::is_control), "{text:?}");
    }
}
