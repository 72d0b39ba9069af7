//! A description as a peer needs it: the fate of each m-line, and the one transport they share.

use super::canonical;
use super::line::{Attribute, Media, Sdp};
use super::{SdpError, quoted};
use crate::proto::ice::IceCandidate;

/// Maximum message size assumed when the remote description has no `a=max-message-size`: 64 KiB (RFC 8841 §6.1).
const DEFAULT_MAX_MESSAGE_SIZE: usize = 64 * 1024;

/// The longest remote `a=ice-ufrag` that is accepted, in characters. RFC 8839 §5.4 allows 256, but the core writes
/// `theirs:ours` into 128 bytes and panics over more (docs/upstream.md); 16 are kept for ours.
pub(crate) const MAX_REMOTE_UFRAG: usize = MAX_USERNAME - 1 - 16;

/// The longest USERNAME of a check that the core can write, in bytes.
pub(crate) const MAX_USERNAME: usize = 128;

/// Candidates of one description that are read; further ones are counted as unreadable.
const MAX_CANDIDATES: usize = 256;

/// Fingerprints of one description that are read.
const MAX_FINGERPRINTS: usize = 16;

/// The part of a description in the exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Offer,
    Answer,
}

/// The fate of an m-line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fate {
    Used,
    /// It has port 0.
    Rejected,
    /// Nothing here can use it: the answer rejects it, for this reason.
    Unusable(String),
}

/// One m-line, as it stands on the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MediaLine {
    /// The number of its line, from 1.
    pub line: usize,
    pub kind: String,
    pub mid: Option<String>,
    /// The core's name for it: the mid where that is possible, a made-up one otherwise.
    pub id: String,
    pub proto: String,
    pub formats: Vec<String>,
    pub fate: Fate,
    /// It has `a=rtcp-mux`.
    pub muxes: bool,
    /// Its `a=rtcp-fb` lines, as `96 nack pli`.
    pub feedback: Vec<String>,
    /// Payload types of H.264 whose profile the core is told otherwise, and what was said.
    pub profiles: Vec<(String, String)>,
}

impl MediaLine {
    /// Returns `true` if it is rejected, or will be by our answer.
    pub fn is_rejected(&self) -> bool {
        self.fate != Fate::Used
    }

    /// Returns the mid that the other side knows it by; a made-up one where it has none.
    pub fn wire_mid(&self) -> &str {
        self.mid.as_deref().unwrap_or(&self.id)
    }
}

/// A hash of a certificate (RFC 8122 §5) by a function that is understood here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fingerprint {
    Sha256([u8; 32]),
    Sha384([u8; 48]),
    Sha512([u8; 64]),
}

/// The DTLS role in a description (RFC 8842 §5.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Setup {
    ActPass,
    Active,
    Passive,
}

/// A description that a peer can use.
#[derive(Debug, Clone)]
pub(crate) struct Reading {
    /// All m-lines, in their order.
    pub lines: Vec<MediaLine>,
    /// The text for the core, with the ids of `lines` for mids and without candidates.
    pub canonical: String,
    pub ufrag: String,
    pub pwd: String,
    pub fingerprints: Vec<Fingerprint>,
    pub ice_lite: bool,
    pub candidates: Vec<IceCandidate>,
    pub candidates_unreadable: usize,
    /// Bytes of the largest message the other side takes; `None` without a usable application m-line.
    pub max_message_size: Option<usize>,
}

impl Reading {
    /// Reads a description of the other side's. `before` has the m-lines negotiated so far, or those of the offer
    /// that this answers: they keep their ids.
    pub fn of(sdp: &Sdp<'_>, role: Role, before: &[MediaLine]) -> Result<Self, SdpError> {
        if sdp.media.is_empty() {
            return Err(SdpError::whole("no m-line: there is nothing to connect"));
        }
        let mut lines = lines(sdp, role, before)?;
        let bundle = bundle(sdp, role, &mut lines)?;
        let tagged = bundle.first().map(|at| &sdp.media[*at]);
        let place = Place {
            sdp,
            tagged,
            bundle: &bundle,
        };
        let (ufrag, pwd) = place.credentials()?;
        let fingerprints = place.fingerprints()?;
        let setup = place.setup(role)?;
        let (candidates, candidates_unreadable) = place.candidates(&ufrag);
        let ice_lite = sdp.session.iter().any(|a| a.name == "ice-lite");
        let application = bundle.iter().find(|at| sdp.media[**at].is_sctp());
        let transport = canonical::Transport {
            ufrag: &ufrag,
            pwd: &pwd,
            fingerprints: &fingerprints,
            setup,
            ice_lite,
        };
        Ok(Self {
            canonical: canonical::write(sdp, &lines, &transport)?,
            max_message_size: application.map(|at| max_message_size(&sdp.media[*at])),
            lines,
            ufrag,
            pwd,
            fingerprints,
            ice_lite,
            candidates,
            candidates_unreadable,
        })
    }
}

/// The m-lines with their ids, and what becomes of each by itself.
fn lines(sdp: &Sdp<'_>, role: Role, before: &[MediaLine]) -> Result<Vec<MediaLine>, SdpError> {
    let mut mids: Vec<(&str, usize)> = Vec::with_capacity(sdp.media.len());
    for mid in sdp.media.iter().filter_map(|m| m.first("mid")) {
        check_mid(mid)?;
        if let Some((_, line)) = mids.iter().find(|(known, _)| *known == mid.value) {
            return Err(SdpError::at(
                mid.line,
                format!("a=mid:{} is that of line {line}, too", mid.value),
            ));
        }
        mids.push((mid.value, mid.line));
    }
    let mut lines: Vec<MediaLine> = Vec::with_capacity(sdp.media.len());
    for (index, media) in sdp.media.iter().enumerate() {
        let offered = before.get(index);
        // An answer's m-lines are told by their places (RFC 8829 §5.10).
        let mid = media.value("mid").map(str::to_owned);
        let mid = match role {
            Role::Answer => mid.or_else(|| offered.and_then(|l| l.mid.clone())),
            Role::Offer => mid,
        };
        // One without a mid has in our offers the one that was made up.
        let is_it =
            |l: &&MediaLine| l.mid == mid || l.mid.is_none() && mid.as_deref() == Some(&l.id);
        let id = match offered.filter(is_it) {
            Some(same) => same.id.clone(),
            None => new_id(index, mid.as_deref(), &mids, before, &lines),
        };
        let mut of_data = lines.iter().filter(|l| l.kind == "application");
        let has_data = of_data.any(|l| l.fate == Fate::Used);
        let fate = fate(sdp, media, role, has_data)?;
        if let (Fate::Unusable(why), Role::Answer) = (&fate, role) {
            return Err(SdpError::at(media.line, why.clone()));
        }
        lines.push(MediaLine {
            line: media.line,
            kind: media.kind.to_owned(),
            mid,
            id,
            proto: media.proto.to_owned(),
            formats: media.formats.iter().map(|f| (*f).to_owned()).collect(),
            fate,
            muxes: media.has("rtcp-mux") || media.has("rtcp-mux-only"),
            feedback: media.all("rtcp-fb").map(|a| a.value.to_owned()).collect(),
            profiles: super::rtp::profiles(media),
        });
    }
    Ok(lines)
}

/// The m-lines of a description of our own.
pub(crate) fn own_lines(sdp: &Sdp<'_>, before: &[MediaLine]) -> Result<Vec<MediaLine>, SdpError> {
    lines(sdp, Role::Offer, before)
}

/// RFC 8866 §9: any token. What else stood there could be read in two ways.
fn check_mid(mid: Attribute<'_>) -> Result<(), SdpError> {
    let is_token = |c: u8| c.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`{|}~".contains(&c);
    if mid.value.is_empty() || !mid.value.bytes().all(is_token) {
        return Err(SdpError::at(
            mid.line,
            format!("the mid {} is not a token (RFC 8866 §9)", quoted(mid.value)),
        ));
    }
    Ok(())
}

/// The mid itself, if the core can name it: it knows up to 16 letters, digits and underscores, and changes others.
fn new_id(
    index: usize,
    mid: Option<&str>,
    mids: &[(&str, usize)],
    before: &[MediaLine],
    lines: &[MediaLine],
) -> String {
    let is_id = |id: &str| before.iter().chain(lines).any(|l| l.id == id);
    let is_fine =
        |mid: &&str| mid.len() <= 16 && mid.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if let Some(mid) = mid.filter(is_fine).filter(|mid| !is_id(mid)) {
        return mid.to_owned();
    }
    let is_taken = |id: &String| is_id(id) || mids.iter().any(|(mid, _)| mid == id);
    let mut id = format!("m{index}x");
    let mut more = 0;
    while is_taken(&id) {
        id = format!("m{index}x{more}");
        more += 1;
    }
    id
}

fn fate(sdp: &Sdp<'_>, media: &Media<'_>, role: Role, has_data: bool) -> Result<Fate, SdpError> {
    if media.is_rejected() {
        return Ok(Fate::Rejected);
    }
    let unusable = |why: String| Ok(Fate::Unusable(why));
    if media.formats.is_empty() {
        return unusable(format!("{} names no format", media.name()));
    }
    let proto = quoted(media.proto);
    match media.kind {
        "audio" | "video" if !media.is_rtp() => {
            unusable(format!("{} over {proto} is not RTP", media.name()))
        }
        "audio" | "video" => {
            // What answers our offer shares the port that we have offered.
            if role == Role::Offer && !shares_port(sdp, media) {
                return unusable(format!(
                    "{} has no a=rtcp-mux: RTCP on a port of its own is not supported (RFC 8834 §4.5)",
                    media.name()
                ));
            }
            match canonical::has_formats(media)? {
                true => Ok(Fate::Used),
                false => unusable(format!(
                    "{} names no payload type with an a=rtpmap",
                    media.name()
                )),
            }
        }
        "application" if !media.is_sctp() => unusable(format!(
            "m=application over {proto} is no data channel (UDP/DTLS/SCTP)"
        )),
        "application" if has_data => {
            unusable("a second m=application: one SCTP association is all that is used".into())
        }
        "application" => Ok(Fate::Used),
        _ => unusable(format!(
            "{} is a kind of media that is not supported",
            media.name()
        )),
    }
}

/// RTCP goes where RTP goes: said by the m-line itself, or by one that it shares a transport with.
fn shares_port(sdp: &Sdp<'_>, media: &Media<'_>) -> bool {
    let muxes = |m: &Media<'_>| m.has("rtcp-mux") || m.has("rtcp-mux-only");
    if muxes(media) || sdp.session.iter().any(|a| a.name == "rtcp-mux") {
        return true;
    }
    let Some(mid) = media.value("mid") else {
        return false;
    };
    let shares = |mids: &[&str]| {
        let others = sdp
            .media
            .iter()
            .filter(|m| m.value("mid").is_some_and(|mid| mids.contains(&mid)));
        media.has("bundle-only") && others.into_iter().any(|m| muxes(m) || m.is_sctp())
    };
    sdp.groups("BUNDLE")
        .any(|(_, mids)| mids.contains(&mid) && shares(&mids))
}

/// The indexes of the m-lines that are used, the one that speaks for their transport first (RFC 9143 §7). Those of
/// another transport become unusable: there is one here.
fn bundle(sdp: &Sdp<'_>, role: Role, lines: &mut [MediaLine]) -> Result<Vec<usize>, SdpError> {
    let used = |lines: &[MediaLine]| -> Vec<usize> {
        let all = lines.iter().enumerate();
        all.filter(|(_, l)| l.fate == Fate::Used)
            .map(|(at, _)| at)
            .collect()
    };
    let all = used(lines);
    let Some(first) = all.first() else {
        // After all media was taken away there may be nothing.
        let unusable = lines.iter().find_map(|l| match &l.fate {
            Fate::Unusable(why) => Some((l.line, why)),
            _ => None,
        });
        return match unusable {
            Some((line, why)) => Err(SdpError::at(line, format!("no m-line can be used: {why}"))),
            None => Ok(Vec::new()),
        };
    };
    if all.len() == 1 {
        return Ok(all);
    }
    let mut groups: Vec<Vec<usize>> = Vec::new();
    for (_, mids) in sdp.groups("BUNDLE") {
        let at = |mid: &&str| {
            lines
                .iter()
                .position(|l| l.fate == Fate::Used && l.mid.as_deref() == Some(mid))
        };
        let mut group: Vec<usize> = Vec::new();
        // Mids that are not there are passed over (RFC 5888 §5).
        for at in mids.iter().filter_map(at) {
            if !group.contains(&at) {
                group.push(at);
            }
        }
        groups.push(group);
    }
    let of_first = groups.iter().position(|g| g.contains(first));
    let chosen = of_first.or_else(|| groups.iter().position(|g| !g.is_empty()));
    let Some(chosen) = chosen.map(|at| groups.swap_remove(at)) else {
        return Err(SdpError::at(
            lines[all[1]].line,
            format!(
                "a=group:BUNDLE is missing: m={} would need a transport of its own, which is not supported",
                lines[all[1]].kind
            ),
        ));
    };
    for at in all.into_iter().filter(|at| !chosen.contains(at)) {
        let line = &mut lines[at];
        let why = format!(
            "m={} is not in the BUNDLE group that is used, and a second transport is not supported",
            line.kind
        );
        if role == Role::Answer {
            return Err(SdpError::at(line.line, why));
        }
        line.fate = Fate::Unusable(why);
    }
    Ok(chosen)
}

/// Where transport attributes are looked for: the tagged m-line, then the session, then the others of the bundle.
struct Place<'a> {
    sdp: &'a Sdp<'a>,
    tagged: Option<&'a Media<'a>>,
    bundle: &'a [usize],
}

impl<'a> Place<'a> {
    /// The lists of attributes, the one that counts first.
    fn lists(&self) -> impl Iterator<Item = &'a [Attribute<'a>]> {
        let sdp = self.sdp;
        let rest = self
            .bundle
            .iter()
            .skip(1)
            .map(|at| sdp.media[*at].attributes.as_slice());
        let tagged = self.tagged.map(|m| m.attributes.as_slice());
        // With nothing in use, anything there is will do.
        let unused = self
            .tagged
            .is_none()
            .then(|| sdp.media.iter().map(|m| m.attributes.as_slice()));
        tagged
            .into_iter()
            .chain([sdp.session.as_slice()])
            .chain(rest)
            .chain(unused.into_iter().flatten())
    }

    fn find(&self, name: &str) -> Option<Attribute<'a>> {
        let mut found = self
            .lists()
            .filter_map(|list| list.iter().find(|a| a.name == name));
        found.next().copied()
    }

    fn required(&self, name: &str) -> Result<Attribute<'a>, SdpError> {
        self.find(name).ok_or_else(|| match self.tagged {
            Some(media) => SdpError::at(
                media.line,
                format!(
                    "a={name} is missing: neither {} nor the session has it",
                    media.name()
                ),
            ),
            None => SdpError::whole(format!("a={name} is missing")),
        })
    }

    /// Lengths of RFC 8839 §5.4. Characters beyond its alphabet do no harm, white space would.
    fn credentials(&self) -> Result<(String, String), SdpError> {
        let ufrag = self.required("ice-ufrag")?;
        let pwd = self.required("ice-pwd")?;
        let is_text = |a: &Attribute<'_>| a.value.bytes().all(|c| c.is_ascii_graphic());
        for (attribute, least, most) in [(ufrag, 4, MAX_REMOTE_UFRAG), (pwd, 22, 256)] {
            if !(least..=most).contains(&attribute.value.len()) || !is_text(&attribute) {
                return Err(SdpError::at(
                    attribute.line,
                    format!(
                        "a={} must have {least} to {most} characters without white space, this one has {}",
                        attribute.name,
                        attribute.value.len()
                    ),
                ));
            }
        }
        Ok((ufrag.value.to_owned(), pwd.value.to_owned()))
    }

    /// All that are understood, of the first list that has any at all: those of an m-line replace those of the session.
    fn fingerprints(&self) -> Result<Vec<Fingerprint>, SdpError> {
        let first = self.required("fingerprint")?;
        let has_one = |list: &&[Attribute<'_>]| list.iter().any(|a| a.name == "fingerprint");
        let list = self.lists().find(has_one).unwrap_or_default();
        let all = list
            .iter()
            .filter(|a| a.name == "fingerprint")
            .take(MAX_FINGERPRINTS);
        let mut understood = Vec::new();
        for attribute in all {
            understood.extend(Fingerprint::parse(attribute)?);
        }
        if understood.is_empty() {
            let hash = first
                .value
                .split_ascii_whitespace()
                .next()
                .unwrap_or_default();
            return Err(SdpError::at(
                first.line,
                format!(
                    "a=fingerprint uses {}; sha-256, sha-384 and sha-512 are understood",
                    quoted(hash)
                ),
            ));
        }
        Ok(understood)
    }

    /// `None` when nothing is said, or nothing that is known.
    fn setup(&self, role: Role) -> Result<Option<Setup>, SdpError> {
        let Some(setup) = self.find("setup") else {
            return Ok(None);
        };
        match (setup.value.to_ascii_lowercase().as_str(), role) {
            ("actpass", Role::Offer) => Ok(Some(Setup::ActPass)),
            ("actpass", Role::Answer) => Err(SdpError::at(
                setup.line,
                "a=setup:actpass in an answer, which has to choose active or passive (RFC 8842 §5.3)",
            )),
            ("active", _) => Ok(Some(Setup::Active)),
            ("passive", _) => Ok(Some(Setup::Passive)),
            ("holdconn", _) => Err(SdpError::at(
                setup.line,
                "a=setup:holdconn: DTLS has to begin, as active, passive or actpass (RFC 8842 §4.1)",
            )),
            _ => Ok(None),
        }
    }

    fn candidates(&self, ufrag: &str) -> (Vec<IceCandidate>, usize) {
        let mut found: Vec<IceCandidate> = Vec::new();
        let mut unreadable = 0;
        for attribute in self.lists().flatten().filter(|a| a.name == "candidate") {
            if found.len() >= MAX_CANDIDATES {
                unreadable += 1;
                continue;
            }
            match IceCandidate::parse(&format!("candidate:{}", attribute.value)) {
                Ok(mut c) => {
                    c.username_fragment.get_or_insert_with(|| ufrag.to_owned());
                    if !found.contains(&c) {
                        found.push(c);
                    }
                }
                Err(_) => unreadable += 1,
            }
        }
        (found, unreadable)
    }
}

impl Fingerprint {
    /// `sha-256 AA:BB:…`. `None` for a function that is not understood.
    fn parse(attribute: &Attribute<'_>) -> Result<Option<Self>, SdpError> {
        let mut words = attribute.value.split_ascii_whitespace();
        let hash = words.next().unwrap_or_default().to_ascii_lowercase();
        let length = match hash.as_str() {
            "sha-256" => 32,
            "sha-384" => 48,
            "sha-512" => 64,
            _ => return Ok(None),
        };
        let byte = |text: &str| match text.len() {
            2 if text.bytes().all(|c| c.is_ascii_hexdigit()) => u8::from_str_radix(text, 16).ok(),
            _ => None,
        };
        let bytes: Option<Vec<u8>> = words
            .next()
            .unwrap_or_default()
            .split(':')
            .map(byte)
            .collect();
        let bytes = bytes.unwrap_or_default();
        let read = match length {
            32 => bytes.try_into().ok().map(Self::Sha256),
            48 => bytes.try_into().ok().map(Self::Sha384),
            _ => bytes.try_into().ok().map(Self::Sha512),
        };
        read.map(Some).ok_or_else(|| {
            SdpError::at(
                attribute.line,
                format!("a=fingerprint:{hash} is not {length} hexadecimal bytes (AA:BB:…)"),
            )
        })
    }
}

fn max_message_size(application: &Media<'_>) -> usize {
    match application
        .value("max-message-size")
        .and_then(|v| v.parse().ok())
    {
        Some(0) => usize::MAX,
        Some(size) => size,
        None => DEFAULT_MAX_MESSAGE_SIZE,
    }
}
