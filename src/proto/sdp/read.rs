//! A description as a peer needs it: the fate of each m-line, and the shared transport.

use super::canonical;
use super::line::{Attribute, Media, Sdp};
use super::{SdpError, quoted};
use crate::proto::ice::IceCandidate;

/// Maximum message size assumed when the remote description has no `a=max-message-size`: 64 KiB (RFC 8841 §6.1).
const DEFAULT_MAX_MESSAGE_SIZE: usize = 64 * 1024;

/// Maximum length of a remote `a=ice-ufrag`, in characters. RFC 8839 §5.4 allows 256, but the core formats
/// `theirs:ours` into 128 bytes and panics if it does not fit (docs/upstream.md); 16 are reserved for ours.
pub(crate) const MAX_REMOTE_UFRAG: usize = MAX_USERNAME - 1 - 16;

/// Maximum length of the USERNAME in a check, in bytes: a limit of the core.
pub(crate) const MAX_USERNAME: usize = 128;

/// Maximum number of candidates read from one description; further ones are counted as unreadable.
const MAX_CANDIDATES: usize = 256;

/// Maximum number of fingerprints read from one description.
const MAX_FINGERPRINTS: usize = 16;

/// Role of a description in the offer/answer exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Offer,
    Answer,
}

/// What becomes of an m-line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fate {
    Used,
    /// Rejected by the description itself (port 0).
    Rejected,
    /// Not usable here: the answer rejects it, for this reason.
    Unusable(String),
}

/// An m-line and its wire format.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MediaLine {
    /// The line number, from 1.
    pub line: usize,
    pub kind: String,
    pub mid: Option<String>,
    /// The core's name for it: the mid if the core can represent it, otherwise a generated one.
    pub id: String,
    pub proto: String,
    pub formats: Vec<String>,
    pub fate: Fate,
    /// Set if it has `a=rtcp-mux`.
    pub muxes: bool,
    /// Values of its `a=rtcp-fb` lines, such as `96 nack pli`.
    pub feedback: Vec<String>,
    /// H.264 payload types whose profile was rewritten for the core, with the original value.
    pub profiles: Vec<(String, String)>,
}

impl MediaLine {
    /// Returns `true` if it is rejected, or will be by our answer.
    pub fn is_rejected(&self) -> bool {
        self.fate != Fate::Used
    }

    /// Returns the mid that the remote peer uses, or the generated one if it has none.
    pub fn wire_mid(&self) -> &str {
        self.mid.as_deref().unwrap_or(&self.id)
    }
}

/// A certificate fingerprint (RFC 8122 §5) with a supported hash function.
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

/// A usable description.
#[derive(Debug, Clone)]
pub(crate) struct Reading {
    /// All m-lines, in order.
    pub lines: Vec<MediaLine>,
    /// The text for the core, with the ids of `lines` as mids and without candidates.
    pub canonical: String,
    pub ufrag: String,
    pub pwd: String,
    pub fingerprints: Vec<Fingerprint>,
    pub ice_lite: bool,
    pub candidates: Vec<IceCandidate>,
    pub candidates_unreadable: usize,
    /// Maximum message size that the remote peer accepts, in bytes; `None` without a usable application m-line.
    pub max_message_size: Option<usize>,
}

impl Reading {
    /// Reads a remote description. `before` holds the m-lines negotiated so far, or those of the offer that this one
    /// answers: they keep their ids.
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

/// Reads the m-lines, assigns ids, and decides the fate of each on its own.
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
        // An answer's m-lines are matched by position (RFC 8829 §5.10).
        let mid = media.value("mid").map(str::to_owned);
        let mid = match role {
            Role::Answer => mid.or_else(|| offered.and_then(|l| l.mid.clone())),
            Role::Offer => mid,
        };
        // An m-line without a mid carries the generated one in our offers.
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

/// Reads the m-lines of one of our own descriptions.
pub(crate) fn own_lines(sdp: &Sdp<'_>, before: &[MediaLine]) -> Result<Vec<MediaLine>, SdpError> {
    lines(sdp, Role::Offer, before)
}

/// Checks that a mid is a token (RFC 8866 §9). Anything else would be ambiguous.
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

/// Returns the mid itself if the core can represent it (up to 16 letters, digits and underscores; it alters others), or
/// else a generated id.
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
            // An answer to our offer shares the port that we offered.
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

/// Returns `true` if RTCP shares the port of RTP: stated by the m-line itself, or by another one of its transport.
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

/// Returns the indexes of the m-lines in use, the tagged one first (RFC 9143 §7). M-lines of another transport become
/// unusable: only one transport is supported.
fn bundle(sdp: &Sdp<'_>, role: Role, lines: &mut [MediaLine]) -> Result<Vec<usize>, SdpError> {
    let used = |lines: &[MediaLine]| -> Vec<usize> {
        let all = lines.iter().enumerate();
        all.filter(|(_, l)| l.fate == Fate::Used)
            .map(|(at, _)| at)
            .collect()
    };
    let all = used(lines);
    let Some(first) = all.first() else {
        // A description may have no media left after everything was removed.
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
        // Unknown mids are ignored (RFC 5888 §5).
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

/// Search order for transport attributes: the tagged m-line, the session, the other m-lines of the bundle.
struct Place<'a> {
    sdp: &'a Sdp<'a>,
    tagged: Option<&'a Media<'a>>,
    bundle: &'a [usize],
}

impl<'a> Place<'a> {
    /// Returns the attribute lists, the most specific first.
    fn lists(&self) -> impl Iterator<Item = &'a [Attribute<'a>]> {
        let sdp = self.sdp;
        let rest = self
            .bundle
            .iter()
            .skip(1)
            .map(|at| sdp.media[*at].attributes.as_slice());
        let tagged = self.tagged.map(|m| m.attributes.as_slice());
        // If no m-line is in use, any of them will do.
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

    /// Reads ufrag and password. Lengths follow RFC 8839 §5.4. Characters outside its alphabet are harmless, white
    /// space is not.
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

    /// Returns the supported fingerprints of the first list that has any: those of an m-line replace those of the
    /// session.
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

    /// Returns the DTLS role; `None` if it is missing or unknown.
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
    /// Parses `sha-256 AA:BB:…`. Returns `None` for an unsupported hash function.
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
