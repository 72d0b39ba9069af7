//! ONVIF: which cameras are on the network, and which streams they have. Sans-IO.
//!
//! [`Discovery`] searches the local network by WS-Discovery; [`DeviceQuery`] asks one device for its name, its profiles and the
//! addresses of its streams and pictures, by SOAP over HTTP. `signaling::onvif` runs both over sockets.
//!
//! Everything that devices send is taken as coming from a stranger: documents, texts and numbers of things are limited, and
//! addresses of services lead to the device that named them and nowhere else. Passwords leave as digests (WS-Security), which
//! whoever reads them can try to guess: give credentials on networks that you trust.
//!
//! ```
//! use looprtc::proto::onvif::{Discovery, DiscoveryOutput};
//! use std::time::{Duration, Instant};
//!
//! let now = Instant::now();
//! let mut discovery = Discovery::new(Duration::from_secs(5), None, now);
//! loop {
//!     match discovery.poll_output(now) {
//!         DiscoveryOutput::Probe(datagram) => { /* send it to onvif::GROUP */ }
//!         DiscoveryOutput::Timeout(at) => break, // receive until then: discovery.handle_datagram(source, &contents)
//!         DiscoveryOutput::Done => break,
//!         _ => {}
//!     }
//! }
//! for device in discovery.found() {
//!     println!("{} {:?}", device.ip, device.name);
//! }
//! ```

mod address;
mod discovery;
mod query;
mod soap;
#[cfg(test)]
mod tests;
mod xml;

pub use address::ServiceAddress;
pub use discovery::{Discovery, DiscoveryOutput, FoundDevice, GROUP, MAX_DEVICES};
pub use query::{Device, DeviceQuery, DeviceStream, MAX_PROFILES, SoapRequest};
pub use xml::MAX_DOCUMENT;

impl FoundDevice {
    /// Describes a device at a known address, which has not been searched for.
    pub fn at(service: ServiceAddress) -> Self {
        Self {
            ip: service.address.ip(),
            service,
            name: None,
            hardware: None,
            location: None,
        }
    }
}
