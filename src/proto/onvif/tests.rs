use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::soap::{device_time, digest, timestamp};
use super::xml::Element;
use super::*;
use crate::proto::rtsp::Credentials;

const CAMERA: &str = "192.168.1.64:3702";

fn source() -> SocketAddr {
    CAMERA.parse().unwrap()
}

fn discovery() -> (Discovery, Instant) {
    let now = Instant::now();
    (Discovery::new(Duration::from_secs(5), Some(1), now), now)
}

fn found(answer: &str) -> Option<FoundDevice> {
    let (mut discovery, _) = discovery();
    discovery.handle_datagram(source(), answer.as_bytes());
    discovery.found().next().cloned()
}

/// Answers in the forms of several makes: prefixes, namespaces, headers and white space differ.
fn answer(prefix: &str, soap: &str, types: &str, scopes: &str, addresses: &str) -> String {
    format!(
        "<?xml version=\"1.0\" encoding=\"utf-8\" standalone=\"yes\" ?>\r\n\
         <{soap}:Envelope xmlns:{soap}=\"http://www.w3.org/2003/05/soap-envelope\" \
         xmlns:{prefix}=\"http://schemas.xmlsoap.org/ws/2005/04/discovery\" \
         xmlns:dn=\"http://www.onvif.org/ver10/network/wsdl\">\
         <{soap}:Header><RelatesTo>uuid:1</RelatesTo></{soap}:Header>\
         <{soap}:Body><{prefix}:ProbeMatches><{prefix}:ProbeMatch>\
         <{prefix}:Types>{types}</{prefix}:Types><{prefix}:Scopes>\n {scopes} \n</{prefix}:Scopes>\
         <{prefix}:XAddrs>{addresses}</{prefix}:XAddrs><{prefix}:MetadataVersion>10</{prefix}:MetadataVersion>\
         </{prefix}:ProbeMatch></{prefix}:ProbeMatches></{soap}:Body></{soap}:Envelope>"
    )
}

#[test]
fn answers_of_several_makes() {
    // Two addresses, one of IPv6; the name is percent-encoded.
    let device = found(&answer(
        "d",
        "env",
        "dn:NetworkVideoTransmitter tds:Device",
        "onvif://www.onvif.org/type/video_encoder onvif://www.onvif.org/hardware/DS-2CD2032-I \
         onvif://www.onvif.org/name/Front%20door onvif://www.onvif.org/location/city/berlin",
        "http://[fe80::1]/onvif/device_service http://192.168.1.64/onvif/device_service",
    ))
    .unwrap();
    assert_eq!(device.name.as_deref(), Some("Front door"));
    assert_eq!(device.hardware.as_deref(), Some("DS-2CD2032-I"));
    assert_eq!(device.location.as_deref(), Some("city/berlin"));
    assert_eq!(
        device.service.to_string(),
        "http://192.168.1.64:80/onvif/device_service"
    );
    // gSOAP's prefixes, port 8899, an address that is nowhere.
    let device = found(&answer(
        "wsdd",
        "SOAP-ENV",
        "wsdd:NetworkVideoTransmitter",
        "onvif://www.onvif.org/name/NVT",
        "http://0.0.0.0:8899/onvif/device_service",
    ))
    .unwrap();
    assert_eq!(
        device.service.to_string(),
        "http://192.168.1.64:8899/onvif/device_service"
    );
    // The address behind a NAT; no namespace at all; another path.
    let device = found(
        "<Envelope><Body><ProbeMatches><ProbeMatch><Scopes>onvif://www.onvif.org/name/</Scopes>\
         <XAddrs>http://10.0.0.5:2020/onvif/service</XAddrs></ProbeMatch></ProbeMatches></Body></Envelope>",
    )
    .unwrap();
    assert_eq!(
        device.service.to_string(),
        "http://192.168.1.64:2020/onvif/service"
    );
    assert_eq!(device.name, None);
    // Without an address the usual one is tried; TLS is not spoken.
    for none in [
        "",
        "https://192.168.1.64/onvif",
        "nonsense",
        "http://[::1",
        "http://x:0/",
    ] {
        let device = found(&answer("d", "s", "dn:NetworkVideoTransmitter", "", none)).unwrap();
        assert_eq!(
            device.service.to_string(),
            "http://192.168.1.64:80/onvif/device_service",
            "{none}"
        );
    }
}

#[test]
fn what_is_no_camera_is_ignored() {
    // A Windows computer or `wsdd`, a printer, a probe of somebody else's, no XML, nothing.
    let computer = answer(
        "wsd",
        "soap",
        "wsdp:Device pub:Computer",
        "",
        "http://192.168.1.64:5357/x",
    );
    let printer = answer(
        "d",
        "s",
        "wprt:PrintDeviceType",
        "",
        "http://192.168.1.64:80/",
    );
    let (mut discovery, now) = discovery();
    let DiscoveryOutput::Probe(probe) = discovery.poll_output(now) else {
        panic!("no probe");
    };
    for other in [
        computer.as_bytes(),
        printer.as_bytes(),
        &probe,
        b"{\"a\":1}",
        b"<a",
        b"\xFF\xFE",
        b"",
    ] {
        discovery.handle_datagram(source(), other);
    }
    assert_eq!(discovery.found().count(), 0);
    assert_eq!(discovery.ignored(), 7);
}

#[test]
fn probes_go_out_thrice_and_the_search_ends() {
    let (mut discovery, start) = discovery();
    let mut now = start;
    let mut probes = Vec::new();
    loop {
        match discovery.poll_output(now) {
            DiscoveryOutput::Probe(probe) => {
                probes.push((now - start, String::from_utf8(probe).unwrap()))
            }
            DiscoveryOutput::Timeout(at) => {
                assert!(at > now);
                now = at;
            }
            DiscoveryOutput::Done => break,
        }
    }
    assert_eq!(now - start, Duration::from_secs(5));
    let times: Vec<u128> = probes.iter().map(|(at, _)| at.as_millis()).collect();
    assert_eq!(times, [0, 0, 500, 500, 1500, 1500]);
    let ids: std::collections::BTreeSet<_> = probes
        .iter()
        .map(|(_, probe)| {
            let document = Element::parse(probe.as_bytes()).unwrap();
            assert_eq!(document.name, "Envelope");
            let types = document.text_of("Types").unwrap();
            assert!(["dn:NetworkVideoTransmitter", "tds:Device"].contains(&types));
            document.text_of("MessageID").unwrap().to_owned()
        })
        .collect();
    assert_eq!(ids.len(), 6);
}

#[test]
fn devices_have_a_limit_and_one_place_each() {
    let (mut discovery, _) = discovery();
    let answer = answer("d", "s", "dn:NetworkVideoTransmitter", "", "");
    for n in 0..MAX_DEVICES as u32 + 50 {
        for _ in 0..2 {
            let ip = std::net::Ipv4Addr::from(0x0A00_0000 + n);
            discovery.handle_datagram((ip, 3702).into(), answer.as_bytes());
        }
    }
    assert_eq!(discovery.found().count(), MAX_DEVICES);
}

#[test]
fn documents_have_limits() {
    assert!(Element::parse(&vec![b' '; MAX_DOCUMENT + 1]).is_err());
    assert!(Element::parse("<a>".repeat(41).as_bytes()).is_err());
    assert!(Element::parse("<a>".repeat(40).as_bytes()).is_ok());
    let wide = format!("<r>{}</r>", "<a/>".repeat(20_000));
    assert!(Element::parse(wide.as_bytes()).is_err());
    let long = format!("<r {}/>", "x='1' ".repeat(80_000));
    let begin = Instant::now();
    assert!(Element::parse(long.as_bytes()).is_ok());
    assert!(begin.elapsed() < Duration::from_secs(2));
}

#[test]
fn entities_are_resolved_and_no_others() {
    let document = Element::parse(
        b"<!DOCTYPE a [<!ENTITY big 'x'>]><u><v>a&amp;b&#65;&big;<![CDATA[<c>]]></v><w>http://x/?a=1&b=2</w></u>",
    )
    .unwrap();
    assert_eq!(document.text_of("v"), Some("a&bA<c>"));
    assert_eq!(document.text_of("w"), Some("http://x/?a=1&b=2"));
}

#[test]
fn times_of_devices() {
    for (seconds, text) in [
        (0, "1970-01-01T00:00:00Z"),
        (951_782_399, "2000-02-28T23:59:59Z"),
        (951_782_400, "2000-02-29T00:00:00Z"),
        (1_709_251_199, "2024-02-29T23:59:59Z"),
        (1_735_689_599, "2024-12-31T23:59:59Z"),
        (4_107_542_399, "2100-02-28T23:59:59Z"),
        (4_107_542_400, "2100-03-01T00:00:00Z"),
    ] {
        assert_eq!(timestamp(Duration::from_secs(seconds)), text);
    }
    for day in 0..80_000u64 {
        let time = Duration::from_secs(day * 86_400 + 12_345);
        let text = timestamp(time);
        let answer = format!(
            "<r><UTCDateTime><Time><Hour>{}</Hour><Minute>{}</Minute><Second>{}</Second></Time>\
             <Date><Year>{}</Year><Month>{}</Month><Day>{}</Day></Date></UTCDateTime></r>",
            &text[11..13],
            &text[14..16],
            &text[17..19],
            &text[..4],
            &text[5..7],
            &text[8..10]
        );
        assert_eq!(
            device_time(&Element::parse(answer.as_bytes()).unwrap()),
            Some(time),
            "{text}"
        );
    }
    let wrong = "<r><UTCDateTime><Hour>25</Hour><Minute>0</Minute><Second>0</Second><Year>2026</Year>\
                 <Month>1</Month><Day>1</Day></UTCDateTime></r>";
    assert_eq!(
        device_time(&Element::parse(wrong.as_bytes()).unwrap()),
        None
    );
}

/// The example of the ONVIF Application Programmer's Guide §6.1.1.3.
#[test]
fn the_digest_is_that_of_the_guide() {
    let nonce = crate::proto::rtp::base64::decode("LKqI6G/AikKCQrN0zqZFlg==").unwrap();
    let digest = digest(&nonce, "2010-09-16T07:50:45Z", "userpassword");
    assert_eq!(digest, "tuOSpGlFlIXsozq4HFNeeGeFLEI=");
}

/// A device that answers as devices do, with credentials checked.
struct Fake {
    password: Option<&'static str>,
    prefix: &'static str,
    asked: Vec<String>,
}

impl Fake {
    fn answer(&mut self, request: &SoapRequest) -> (u16, String) {
        let document = Element::parse(request.body.as_bytes()).unwrap();
        let name = request.action.rsplit('/').next().unwrap();
        let token = document.text_of("ProfileToken").unwrap_or_default();
        self.asked.push(format!("{name} {token}"));
        if let Some(password) = self.password
            && name != "GetSystemDateAndTime"
        {
            let text = |name| document.text_of(name).unwrap_or_default();
            let nonce = crate::proto::rtp::base64::decode(text("Nonce")).unwrap_or_default();
            let expected = digest(&nonce, "2011-02-03T04:05:06Z", password);
            if text("Password") != expected || text("Username") != "admin" {
                let fault = "<f:Fault><f:Code><f:Value>f:Sender</f:Value><f:Subcode><f:Value>ter:NotAuthorized</f:Value>\
                             </f:Subcode></f:Code><f:Reason><f:Text xml:lang=\"en\">Sender not Authorized</f:Text></f:Reason></f:Fault>";
                return (400, self.envelope(fault));
            }
        }
        let body = match (name, token) {
            ("GetSystemDateAndTime", _) => {
                "<x:GetSystemDateAndTimeResponse><x:SystemDateAndTime><t:UTCDateTime>\
                 <t:Time><t:Hour>4</t:Hour><t:Minute>5</t:Minute><t:Second>6</t:Second></t:Time>\
                 <t:Date><t:Year>2011</t:Year><t:Month>2</t:Month><t:Day>3</t:Day></t:Date></t:UTCDateTime>\
                 </x:SystemDateAndTime></x:GetSystemDateAndTimeResponse>"
            }
            ("GetDeviceInformation", _) => {
                "<x:GetDeviceInformationResponse><x:Manufacturer>Acme</x:Manufacturer><x:Model>C\n1</x:Model>\
                 </x:GetDeviceInformationResponse>"
            }
            ("GetCapabilities", _) => {
                "<x:GetCapabilitiesResponse><x:Capabilities><t:Media><t:XAddr>http://0.0.0.0:8000/onvif/Media</t:XAddr>\
                 </t:Media></x:Capabilities></x:GetCapabilitiesResponse>"
            }
            ("GetProfiles", _) => {
                "<x:GetProfilesResponse><x:Profiles fixed=\"true\" token=\"main&amp;1\"><t:Name>mainStream</t:Name>\
                 <t:VideoEncoderConfiguration token=\"v\"><t:Name>v</t:Name><t:Encoding>H264</t:Encoding><t:Resolution>\
                 <t:Width>1920</t:Width><t:Height>1080</t:Height></t:Resolution><t:RateControl><t:FrameRateLimit>25\
                 </t:FrameRateLimit></t:RateControl></t:VideoEncoderConfiguration>\
                 <t:AudioEncoderConfiguration token=\"a\"><t:Encoding>AAC</t:Encoding></t:AudioEncoderConfiguration>\
                 </x:Profiles><x:Profiles token=\"sub\"><t:VideoEncoderConfiguration token=\"w\"><t:Name>w</t:Name>\
                 </t:VideoEncoderConfiguration></x:Profiles><x:Profiles><t:Name>no token</t:Name></x:Profiles>\
                 </x:GetProfilesResponse>"
            }
            ("GetStreamUri", "main&1") => {
                "<x:GetStreamUriResponse><x:MediaUri><t:Uri>rtsp://root:hidden@0.0.0.0:554/ch?n=1&amp;password=hidden</t:Uri>\
                 </x:MediaUri></x:GetStreamUriResponse>"
            }
            ("GetStreamUri", _) => {
                "<x:R><x:MediaUri><t:Uri>rtsp://cam.example/sub?a=1&b=2</t:Uri></x:MediaUri></x:R>"
            }
            ("GetSnapshotUri", "main&1") => {
                "<x:R><x:MediaUri><t:Uri>http://127.0.0.1/snap.jpg?user=a&amp;pwd=hidden</t:Uri></x:MediaUri></x:R>"
            }
            ("GetSnapshotUri", _) => {
                let fault = "<f:Fault><f:Code><f:Value>f:Receiver</f:Value></f:Code></f:Fault>";
                return (500, self.envelope(fault));
            }
            other => panic!("{other:?}"),
        };
        (200, self.envelope(body))
    }

    fn envelope(&self, body: &str) -> String {
        let p = self.prefix;
        let body = body
            .replace("x:", "tds:")
            .replace("t:", "tt:")
            .replace("f:", &format!("{p}:"));
        format!(
            "<?xml version=\"1.0\"?><{p}:Envelope xmlns:{p}=\"http://www.w3.org/2003/05/soap-envelope\"><{p}:Body>{body}</{p}:Body></{p}:Envelope>"
        )
    }
}

fn ask(fake: &mut Fake, credentials: Option<Credentials>) -> Device {
    let now = Instant::now();
    let found = FoundDevice::at(ServiceAddress::usual([192, 168, 1, 64].into()));
    let mut query = DeviceQuery::new(found, credentials, Duration::ZERO, Some(7), now);
    let mut services = Vec::new();
    while let Some(request) = query.poll_request(now) {
        let (status, body) = fake.answer(&request);
        services.push(request.service.to_string());
        assert!(!request.body.contains("secret"));
        assert!(!format!("{query:?}").contains("secret"));
        query.handle_response(status, body.as_bytes(), now);
    }
    if services.len() > 4 {
        assert_eq!(services[3], "http://192.168.1.64:8000/onvif/Media");
    }
    query.device().clone()
}

#[test]
fn a_device_tells_its_streams() {
    for (password, prefix) in [(None, "env"), (Some("secret"), "SOAP-ENV")] {
        let mut fake = Fake {
            password,
            prefix,
            asked: Vec::new(),
        };
        let credentials = password.map(|password| Credentials::new("admin", password));
        let device = ask(&mut fake, credentials);
        assert_eq!(device.problem, None);
        assert_eq!(device.manufacturer.as_deref(), Some("Acme"));
        assert_eq!(device.model.as_deref(), Some("C 1"));
        let [main, sub] = &device.streams[..] else {
            panic!("{:?}", device.streams);
        };
        assert_eq!(main.profile, "mainStream");
        assert_eq!(main.encoding.as_deref(), Some("H264"));
        assert_eq!(
            (main.size, main.frame_rate),
            (Some((1920, 1080)), Some(25.0))
        );
        assert_eq!(main.audio.as_deref(), Some("AAC"));
        let uri = main.uri.as_ref().unwrap();
        assert_eq!(
            uri.to_string(),
            "rtsp://192.168.1.64:554/ch?n=1&password=***"
        );
        assert_eq!(
            main.snapshot.as_deref(),
            Some("http://192.168.1.64/snap.jpg?user=a&pwd=***")
        );
        assert_eq!(sub.profile, "sub");
        assert_eq!((sub.size, &sub.encoding), (None, &None));
        assert_eq!(
            sub.uri.as_ref().unwrap().to_string(),
            "rtsp://cam.example/sub?a=1&b=2"
        );
        assert_eq!(sub.snapshot, None);
        assert!(!format!("{device:?}").contains("hidden"), "{device:?}");
        assert_eq!(fake.asked.len(), 8, "{:?}", fake.asked);
    }
}

#[test]
fn a_device_that_wants_a_password_says_so() {
    let mut fake = Fake {
        password: Some("secret"),
        prefix: "s",
        asked: Vec::new(),
    };
    let problem = ask(&mut fake, None).problem.unwrap();
    assert!(
        problem.contains("asks for a user and a password"),
        "{problem}"
    );
    let problem = ask(&mut fake, Some(Credentials::new("admin", "wrong")))
        .problem
        .unwrap();
    assert!(
        problem.contains("refuses this user or password"),
        "{problem}"
    );
}

#[test]
fn whatever_a_device_answers_the_query_ends() {
    let answers: [(u16, &[u8]); 6] = [
        (200, b""),
        (404, b"<html>not here</html>"),
        (200, b"<html><body>Welcome</body></html>"),
        (
            500,
            b"<s:Fault><faultcode>x</faultcode><faultstring>no\x1b[31m</faultstring></s:Fault>",
        ),
        (0, b"\xff"),
        (
            200,
            b"<r><Profiles token='a'><Uri>file:///etc/passwd</Uri></Profiles></r>",
        ),
    ];
    for (status, body) in answers {
        let now = Instant::now();
        let found = FoundDevice::at(ServiceAddress::usual([10, 0, 0, 1].into()));
        let mut query = DeviceQuery::new(found, None, Duration::ZERO, Some(7), now);
        let mut requests = 0;
        while query.poll_request(now).is_some() {
            requests += 1;
            assert!(requests < 10);
            query.handle_response(status, body, now);
        }
        let device = query.device();
        let is_empty = device.streams.iter().all(|s| s.uri.is_none());
        assert!(is_empty, "{device:?}");
        assert!(
            device.problem.is_some() || !device.streams.is_empty(),
            "{device:?}"
        );
        assert!(
            device.problem.as_ref().is_none_or(|p| !p.contains('\x1b')),
            "{device:?}"
        );
    }
    let found = FoundDevice::at(ServiceAddress::usual([10, 0, 0, 1].into()));
    let now = Instant::now();
    let mut query = DeviceQuery::new(found, None, Duration::ZERO, Some(7), now);
    query.handle_failure("connection refused");
    assert_eq!(query.poll_request(now), None);
    assert!(
        query
            .device()
            .problem
            .as_ref()
            .unwrap()
            .contains("10.0.0.1")
    );
}
