//! The scripts: for each known quirk, by its number and name, what a camera does that has it.

use std::time::Duration;

use super::behaviour::{
    Aac, Access, Algorithm, Audio, Base, Behaviour, Challenge, Channels, DescribedSets, Early,
    Edit, Fragments, Markers, Ports, Reply, Reports, RtpInfo, Sessions, Sets, StartCodes, Talk,
    Timestamps, Video,
};

/// Expected outcome of a script.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// Every picture arrives, from the first keyframe on.
    All,
    /// Pictures arrive, but for some that the camera has lost.
    Most,
    /// The session ends with an error whose sentence has this text.
    Ends(&'static str),
}

/// One way in which a camera shows a quirk.
#[derive(Debug, Clone, Copy)]
pub struct Script {
    /// Number of the quirk.
    pub number: u8,
    /// Name of the quirk.
    pub name: &'static str,
    /// Subject of this script.
    pub about: &'static str,
    /// Changes a well-behaved camera.
    pub play: fn(&mut Behaviour),
    /// Expected outcome.
    pub expect: Expect,
    /// Set if the quirk has to be counted; `false` where the tolerance cannot be told from the normal case.
    pub counted: bool,
    /// Set if a client that knows only the standards gets pictures, too; tested with ffmpeg.
    pub tame: bool,
    /// Settings that the client needs, as behind a URL: `transport=udp` (first), `transport=tcp` (only), `insecure`,
    /// `talk` (nothing but two-way audio).
    pub settings: &'static str,
}

impl Script {
    /// Returns the path of the camera's URL.
    pub fn path(&self) -> &'static str {
        let behaviour = self.behaviour();
        let path = behaviour.description.path;
        path.filter(|_| behaviour.messages.redirects == 0)
            .unwrap_or("/cam")
    }

    /// Returns the camera's behaviour.
    pub fn behaviour(&self) -> Behaviour {
        let mut behaviour = Behaviour::default();
        (self.play)(&mut behaviour);
        behaviour
    }

    const fn uncounted(mut self) -> Self {
        self.counted = false;
        self
    }

    const fn tame(mut self) -> Self {
        self.tame = true;
        self
    }

    const fn with(mut self, settings: &'static str) -> Self {
        self.settings = settings;
        self
    }

    const fn loses(mut self) -> Self {
        self.expect = Expect::Most;
        self
    }

    const fn ends(mut self, sentence: &'static str) -> Self {
        self.expect = Expect::Ends(sentence);
        self
    }
}

const fn script(
    number: u8,
    name: &'static str,
    about: &'static str,
    play: fn(&mut Behaviour),
) -> Script {
    Script {
        number,
        name,
        about,
        play,
        expect: Expect::All,
        counted: true,
        tame: false,
        settings: "",
    }
}

fn stale(camera: &mut Behaviour) {
    sdp(
        camera,
        &[Edit::Replace(
            "a=tool:a camera",
            "a=tool:LIVE555 Streaming Media v2016.05.20",
        )],
    );
    camera.faults.stale = true;
}

const MD5: Challenge = Challenge::digest(Algorithm::Md5, false);
const MD5_QOP: Challenge = Challenge::digest(Algorithm::Md5, true);
const SHA_256: Challenge = Challenge::digest(Algorithm::Sha256, true);
const SHA_512_256: Challenge = Challenge::digest(Algorithm::Sha512_256, true);
/// Offered, and refused.
const SHA_256_BROKEN: Challenge = Challenge::Digest {
    algorithm: Algorithm::Sha256,
    qop: true,
    taken: false,
};

fn access<'a>(camera: &'a mut Behaviour, challenges: &'static [Challenge]) -> &'a mut Access {
    camera.access.insert(Access {
        challenges,
        in_one_header: false,
        nonce_lasts: None,
    })
}

fn sound(camera: &mut Behaviour, audio: Audio) {
    camera.media.audio = audio;
}

fn udp(camera: &mut Behaviour, ports: Ports) {
    camera.transport.refuses_tcp = Some(461);
    camera.transport.ports = ports;
}

fn sdp(camera: &mut Behaviour, edits: &'static [Edit]) {
    camera.description.edits = edits;
}

/// Where an edit of the description leaves SETUP to go.
fn tracks(camera: &mut Behaviour, tracks: &'static [&'static str]) {
    camera.description.tracks = Some(tracks);
}

/// All scripts, in the order of the quirks' numbers.
pub const SCRIPTS: &[Script] = &[
    script(
        1,
        "early-data",
        "sender reports before the response to PLAY",
        |c| {
            c.transport.early = Early::Reports;
        },
    )
    .tame(),
    script(1, "early-data", "media before the response to PLAY", |c| {
        c.transport.early = Early::Media;
    }),
    script(
        2,
        "unassigned-channel",
        "packets on a channel that nobody has set up",
        |c| {
            c.faults.foreign = true;
        },
    )
    .tame(),
    script(3, "other-channels", "four higher than asked for", |c| {
        c.transport.channels = Channels::Higher;
    })
    .tame(),
    script(3, "other-channels", "the first one alone", |c| {
        c.transport.channels = Channels::Lone;
    })
    .uncounted(),
    script(3, "other-channels", "none", |c| {
        c.transport.channels = Channels::Missing;
    }),
    script(3, "other-channels", "RTP/AVP instead of RTP/AVP/TCP", |c| {
        c.transport.channels = Channels::PlainName;
    }),
    script(
        4,
        "several-challenges",
        "Basic, MD5 and SHA-256, a header each",
        |c| {
            access(c, &[Challenge::Basic, MD5, SHA_256]);
        },
    ),
    script(4, "several-challenges", "all in one header", |c| {
        access(c, &[SHA_256, MD5, Challenge::Basic]).in_one_header = true;
    }),
    script(
        4,
        "several-challenges",
        "SHA-256 is offered and refused",
        |c| {
            access(c, &[SHA_256_BROKEN, MD5]);
        },
    ),
    script(5, "digest-qop", "MD5 with qop=auth", |c| {
        access(c, &[MD5_QOP]);
    })
    .tame(),
    script(6, "digest-sha", "SHA-256 alone", |c| {
        access(c, &[SHA_256]);
    }),
    script(6, "digest-sha", "SHA-512-256 alone", |c| {
        access(c, &[SHA_512_256]);
    }),
    script(
        7,
        "digest-nonce-changes",
        "another nonce after two requests, without stale=true",
        |c| {
            access(c, &[MD5]).nonce_lasts = Some(2);
        },
    ),
    script(
        8,
        "header-case",
        "Cseq, Content-length; CSeq is demanded",
        |c| {
            c.messages.odd_case = true;
        },
    )
    .tame(),
    script(
        9,
        "header-junk",
        "blanks around values, a line without a colon",
        |c| {
            c.messages.junk = true;
            c.transport.blank_ssrc = true;
        },
    ),
    script(
        9,
        "header-junk",
        "empty lines before responses and data",
        |c| {
            c.messages.blank_lines = true;
        },
    ),
    script(9, "header-junk", "Session with blanks", |c| {
        c.sessions.parameters = " ; timeout = 60 ; ";
    }),
    script(10, "lost-sync", "garbage before each fifth picture", |c| {
        c.faults.garbage_each = Some(5);
    }),
    script(
        11,
        "needs-user-agent",
        "401 to whoever does not name itself",
        |c| {
            c.messages.needs_user_agent = true;
        },
    )
    .uncounted()
    .tame(),
    script(
        12,
        "keepalive-refused",
        "GET_PARAMETER is offered and refused, OPTIONS counts",
        |c| {
            c.sessions = Sessions {
                get_parameter: Reply::Status(451),
                ..short()
            };
        },
    ),
    script(
        12,
        "keepalive-refused",
        "nothing is answered, though it counts",
        |c| {
            c.sessions = Sessions {
                get_parameter: Reply::Silence,
                options: Reply::Silence,
                ..short()
            };
        },
    ),
    script(
        12,
        "keepalive-refused",
        "GET_PARAMETER is not offered, OPTIONS counts",
        |c| {
            c.sessions = Sessions {
                public: "OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN",
                get_parameter: Reply::Status(501),
                ..short()
            };
        },
    )
    .uncounted(),
    script(
        12,
        "keepalive-refused",
        "OPTIONS is answered and does not count",
        |c| {
            c.sessions = Sessions {
                options_count: false,
                ..short()
            };
        },
    )
    .uncounted(),
    script(
        13,
        "camera-asks",
        "OPTIONS, and the connection ends without a response",
        |c| {
            c.messages.asks = true;
        },
    ),
    script(
        14,
        "session-changes",
        "another identifier for the second SETUP",
        |c| {
            c.sessions.id = super::behaviour::SessionId::Changes;
            sound(c, Audio::Pcma);
        },
    ),
    script(14, "session-changes", "an identifier with PLAY only", |c| {
        c.sessions.id = super::behaviour::SessionId::WithPlay;
    }),
    script(
        15,
        "transport-needs-reconnect",
        "461 to TCP, and no second DESCRIBE on a connection",
        |c| {
            c.transport.refuses_tcp = Some(461);
            c.messages.one_describe = true;
        },
    ),
    script(
        15,
        "transport-needs-reconnect",
        "400 to TCP, as rtsp-server-perl answers",
        |c| {
            c.transport.refuses_tcp = Some(400);
            c.messages.one_describe = true;
        },
    ),
    script(16, "redirect", "to another path, once", |c| {
        c.messages.redirects = 1;
        c.description.path = Some("/live/1");
    })
    .tame(),
    script(16, "redirect", "without end", |c| {
        c.messages.redirects = u32::MAX;
        c.description.path = Some("/live/1");
    })
    .ends("redirected more than"),
    script(
        17,
        "few-connections",
        "453 while somebody else watches",
        |c| {
            c.sessions.most = 1;
            c.sessions.taken = 1;
        },
    )
    .ends("as many viewers as it can"),
    script(18, "teardown-unanswered", "TEARDOWN is not answered", |c| {
        c.sessions.teardown = Reply::Silence;
    }),
    script(
        18,
        "teardown-unanswered",
        "TEARDOWN is answered with 454",
        |c| {
            c.sessions.teardown = Reply::Status(454);
        },
    ),
    script(19, "bad-content-base", "missing", |c| {
        c.description.base = Base::Missing;
    })
    .tame(),
    script(19, "bad-content-base", "without a scheme", |c| {
        c.description.base = Base::Text("192.0.2.7/cam/");
    }),
    script(19, "bad-content-base", "rtsp:// twice", |c| {
        c.description.base = Base::Text("rtsp://{base}/");
    }),
    script(19, "bad-content-base", "IPv6 without brackets", |c| {
        c.description.base = Base::Text("rtsp://::ffff:192.0.2.7/cam/");
    }),
    script(19, "bad-content-base", "the camera's inner address", |c| {
        c.description.base = Base::Text("rtsp://192.0.2.7:554/cam/");
    }),
    script(
        20,
        "stale-session",
        "live555 of 2016, with packets of an earlier session",
        stale,
    ),
    script(
        20,
        "stale-session",
        "live555 of 2016, with packets of an earlier session, and no UDP",
        stale,
    )
    .ends("data of an earlier session")
    .with("transport=tcp"),
    script(21, "control-url", "a query in the base", |c| {
        c.description.path = Some("/cam?channel=1&subtype=0");
        c.description.base = Base::Text("{base}");
        sdp(c, &[Edit::Replace("control:track1", "control:trackID=0")]);
        tracks(c, &["/cam?channel=1&subtype=0/trackID=0"]);
    }),
    script(21, "control-url", "absolute, with another host", |c| {
        sdp(
            c,
            &[Edit::Replace(
                "control:track1",
                "control:rtsp://192.0.2.7/cam/track1",
            )],
        );
    }),
    script(21, "control-url", "with a slash in front", |c| {
        sdp(c, &[Edit::Replace("control:track1", "control:/track1")]);
    }),
    script(21, "control-url", "empty", |c| {
        sdp(c, &[Edit::Replace("control:track1", "control:")]);
        tracks(c, &["/cam/"]);
    })
    .uncounted(),
    script(21, "control-url", "missing", |c| {
        sdp(c, &[Edit::Remove("a=control:track1")]);
        tracks(c, &["/cam/"]);
    })
    .uncounted(),
    script(22, "broken-sdp", "no o= and no s=", |c| {
        sdp(c, &[Edit::Remove("o="), Edit::Remove("s=")]);
    })
    .tame(),
    script(22, "broken-sdp", "two s=, a damaged c=", |c| {
        sdp(
            c,
            &[
                Edit::Replace("i=live", "s=again"),
                Edit::Replace("c=IN IP4 0.0.0.0", "c=IN IP4"),
            ],
        );
    })
    .tame(),
    script(
        22,
        "broken-sdp",
        "no line break at the end, no Content-Type",
        |c| {
            sdp(c, &[Edit::NoEnd]);
            c.description.no_type = true;
        },
    ),
    script(
        22,
        "broken-sdp",
        "an unknown medium, an empty fmtp, a damaged m-line",
        |c| {
            sdp(
                c,
                &[Edit::Append(
                    "m=TP-LINK 0 RTP/AVP 105\r\na=fmtp:105\r\nm=video\r\n",
                )],
            );
        },
    ),
    script(22, "broken-sdp", "rtpmap is missing", |c| {
        sound(c, Audio::Pcmu(8_000));
        sdp(c, &[Edit::Remove("a=rtpmap:0")]);
    })
    .uncounted()
    .tame(),
    script(
        22,
        "broken-sdp",
        "blanks at the ends of lines, x-framerate",
        |c| {
            sdp(
                c,
                &[
                    Edit::Replace("H264/90000", "H264/90000  "),
                    Edit::Replace("a=framerate:", "a=x-framerate: "),
                ],
            );
        },
    )
    .uncounted(),
    script(23, "bad-parameter-sets", "missing", |c| {
        c.description.sets = DescribedSets::Missing;
    })
    .tame(),
    script(23, "bad-parameter-sets", "with start codes", |c| {
        c.description.sets = DescribedSets::AnnexB;
    }),
    script(23, "bad-parameter-sets", "no parameter sets at all", |c| {
        c.description.sets = DescribedSets::Garbage;
    }),
    script(24, "all-sendonly", "media marked as sendonly", |c| {
        sound(c, Audio::Pcma);
        sdp(
            c,
            &[Edit::Replace(
                "a=control:track",
                "a=sendonly\r\na=control:track",
            )],
        );
    }),
    script(25, "vendor-data", "ONVIF metadata", |c| {
        sdp(
            c,
            &[Edit::Append(
                "m=application 0 RTP/AVP 107\r\na=rtpmap:107 vnd.onvif.metadata/90000\r\na=control:track9\r\n",
            )],
        );
    }),
    script(26, "marker-lies", "on parameter sets and SEI", |c| {
        c.packing.markers = Markers::OnSets;
        c.media.padding = 20;
    }),
    script(26, "marker-lies", "nowhere", |c| {
        c.packing.markers = Markers::Never;
    }),
    script(
        27,
        "annex-b-in-rtp",
        "sets and picture as one NAL unit",
        |c| {
            c.packing.start_codes = StartCodes::Inside;
            c.packing.mtu = 8_000;
        },
    ),
    script(27, "annex-b-in-rtp", "the same in fragments", |c| {
        c.packing.start_codes = StartCodes::Inside;
        c.packing.mtu = 400;
    }),
    script(28, "fragment-faults", "the type changes", |c| {
        c.packing.fragments = Fragments::TypeChanges;
        c.packing.mtu = 400;
    }),
    script(28, "fragment-faults", "start and end at once", |c| {
        c.packing.fragments = Fragments::StartAndEnd;
    }),
    script(28, "fragment-faults", "start and end at once, H.265", |c| {
        c.packing.fragments = Fragments::StartAndEnd;
        c.media.video = Video::H265;
    }),
    script(28, "fragment-faults", "the reserved bit", |c| {
        c.packing.fragments = Fragments::Reserved;
        c.packing.mtu = 400;
    }),
    script(28, "fragment-faults", "empty fragments", |c| {
        c.packing.fragments = Fragments::Empty;
        c.packing.mtu = 400;
    }),
    script(28, "fragment-faults", "the start is missing", |c| {
        c.packing.fragments = Fragments::NoStart;
        c.packing.mtu = 60;
    })
    .loses(),
    script(
        29,
        "keyframe-without-sets",
        "sets in the description alone",
        |c| {
            c.packing.sets = Sets::Never;
        },
    )
    .tame(),
    script(
        29,
        "keyframe-without-sets",
        "sets before the first keyframe alone",
        |c| {
            c.packing.sets = Sets::Once;
            c.description.sets = DescribedSets::Missing;
        },
    )
    .tame(),
    script(
        29,
        "keyframe-without-sets",
        "H.265, sets in the description alone",
        |c| {
            c.packing.sets = Sets::Never;
            c.media.video = Video::H265;
        },
    )
    .tame(),
    script(30, "sets-change", "another size each two seconds", |c| {
        c.media.video = Video::H264Changing;
    })
    .tame(),
    script(31, "timestamps", "equal for two pictures", |c| {
        c.clock.timestamps = Timestamps::Equal;
    }),
    script(31, "timestamps", "a second backwards, each tenth", |c| {
        c.clock.timestamps = Timestamps::Backwards;
    }),
    script(31, "timestamps", "an hour is skipped", |c| {
        c.clock.timestamps = Timestamps::Jump;
    }),
    script(31, "timestamps", "they wrap around", |c| {
        c.clock.timestamps = Timestamps::Wrap;
    })
    .uncounted()
    .tame(),
    script(31, "timestamps", "the wrong rate", |c| {
        c.clock.timestamps = Timestamps::Slow;
    }),
    script(31, "timestamps", "reports of 1970", |c| {
        c.clock.reports = Reports::Of1970;
        sound(c, Audio::Pcma);
    })
    .tame(),
    script(31, "timestamps", "no reports", |c| {
        c.clock.reports = Reports::Absent;
        sound(c, Audio::Pcma);
    })
    .uncounted()
    .tame(),
    script(
        32,
        "rtp-info-lies",
        "sequence number and timestamp 0",
        |c| {
            c.transport.rtp_info = RtpInfo::Zero;
        },
    ),
    script(32, "rtp-info-lies", "unreadable", |c| {
        c.transport.rtp_info = RtpInfo::Junk;
    }),
    script(32, "rtp-info-lies", "missing", |c| {
        c.transport.rtp_info = RtpInfo::Missing;
    })
    .uncounted()
    .tame(),
    script(32, "rtp-info-lies", "reports of an unknown SSRC", |c| {
        c.clock.reports = Reports::UnknownSsrc;
    }),
    script(33, "b-frames", "three in a row", |c| {
        c.media.video = Video::H264BFrames;
    })
    .tame(),
    script(34, "large-packets", "10,000 bytes over TCP", |c| {
        c.media.padding = 9_900;
        c.packing.mtu = 10_000;
    })
    .tame(),
    script(34, "large-packets", "10,000 bytes over UDP", |c| {
        udp(c, Ports::Proper);
        c.media.padding = 9_900;
        c.packing.mtu = 10_000;
    }),
    script(35, "gap-over-tcp", "each 40th packet is missing", |c| {
        c.faults.drops_each = Some(40);
    })
    .loses(),
    script(
        36,
        "endless-unit",
        "no marker, and always the same timestamp",
        |c| {
            c.faults.endless = true;
            c.media.padding = 60_000;
            c.packing.mtu = 60_100;
        },
    )
    .loses(),
    script(37, "aac-framing", "ADTS inside RFC 3640", |c| {
        sound(c, Audio::Aac(Aac::AdtsInside));
    }),
    script(37, "aac-framing", "ADTS instead of RFC 3640", |c| {
        sound(c, Audio::Aac(Aac::AdtsOnly));
    }),
    script(37, "aac-framing", "sizes of 6 bits (AAC-lbr)", |c| {
        sound(c, Audio::Aac(Aac::Low));
    })
    .uncounted(),
    script(37, "aac-framing", "three units a packet", |c| {
        sound(c, Audio::Aac(Aac::Several));
    })
    .uncounted()
    .tame(),
    script(37, "aac-framing", "units in two fragments", |c| {
        sound(c, Audio::Aac(Aac::Fragments));
    })
    .uncounted(),
    script(37, "aac-framing", "config is missing", |c| {
        sound(c, Audio::Aac(Aac::Proper));
        sdp(c, &[Edit::Replace(";config=1408", "")]);
    }),
    script(37, "aac-framing", "LATM", |c| {
        sound(c, Audio::Aac(Aac::Latm));
    })
    .uncounted()
    .tame(),
    script(38, "audio-format", "G.711 at 16 kHz", |c| {
        sound(c, Audio::Pcmu(16_000));
    }),
    script(38, "audio-format", "L16, low byte first", |c| {
        sound(
            c,
            Audio::L16 {
                little_endian: true,
            },
        );
        sdp(c, &[Edit::Replace("L16/16000", "PCM/16000")]);
    }),
    script(38, "audio-format", "opus/8000", |c| {
        sound(c, Audio::Opus);
        sdp(c, &[Edit::Replace("opus/48000/2", "opus/8000")]);
    }),
    script(38, "audio-format", "G.726", |c| {
        sound(c, Audio::G726);
    }),
    script(
        39,
        "silent",
        "nothing after two seconds, the connection stands",
        |c| {
            c.faults.silent_after = Some(50);
        },
    )
    .ends("sent nothing for"),
    script(40, "udp-ports", "server_port is missing", |c| {
        udp(c, Ports::Missing);
    }),
    script(40, "udp-ports", "server_port=0-0", |c| {
        udp(c, Ports::Zero);
    }),
    script(40, "udp-ports", "media from another port", |c| {
        udp(c, Ports::Other);
    }),
    script(40, "udp-ports", "no datagram arrives", |c| {
        c.transport.ports = Ports::Blocked;
    })
    .with("transport=udp"),
    script(
        41,
        "self-signed",
        "a certificate that nobody vouches for",
        |_| {},
    )
    .uncounted()
    .with("insecure"),
    script(42, "backchannel", "551 to Require", |c| {
        c.talk = Talk::Refused;
        sound(c, Audio::Pcmu(8_000));
    })
    .ends("no two-way audio")
    .with("talk"),
];

/// Sessions that end soon without a keep-alive.
fn short() -> Sessions {
    Sessions {
        parameters: ";timeout=4",
        timeout: Duration::from_secs(4),
        ..Sessions::default()
    }
}
