//! Parameter sets of a stream: those of the description until others come in band.

use super::nal_codec::NalCodec;

/// Maximum size of a parameter set, in bytes; real ones have fewer than two hundred.
const MAX_SET: usize = 4096;

/// Maximum size of all sets together, in bytes. They are put before each keyframe.
const MAX_TOTAL: usize = 8192;

/// The latest set of each kind and id.
#[derive(Debug, Default)]
pub(super) struct ParameterSets {
    /// Sorted by kind and id: sets that others refer to come first.
    sets: Vec<Set>,
}

#[derive(Debug)]
struct Set {
    kind: u8,
    id: u8,
    nal: Vec<u8>,
    in_band: bool,
}

/// Effect of a parameter set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// It was known.
    None,
    /// It is the first of its kind and id.
    New,
    /// It replaces one that came in band.
    Changed,
    /// It replaces those of the description, which differ.
    Contradicts,
    /// It is empty, or too large to be kept.
    Unusable,
}

impl ParameterSets {
    /// Adds the sets of a description.
    pub fn describe(&mut self, codec: NalCodec, nals: &[Vec<u8>]) {
        for nal in nals {
            if let Some(kind) = codec.set_kind(nal)
                && nal.len() > codec.header()
            {
                self.put(kind, codec.set_id(kind, nal), nal, false);
            }
        }
    }

    /// Takes a set that came in band. The first of a kind replaces all of that kind from the description.
    pub fn take(&mut self, codec: NalCodec, kind: u8, nal: &[u8]) -> Change {
        if nal.len() <= codec.header() {
            return Change::Unusable;
        }
        let id = codec.set_id(kind, nal);
        let same = |set: &Set| set.kind == kind && set.id == id;
        if let Some(known) = self.sets.iter_mut().find(|set| same(set))
            && known.nal == nal
        {
            known.in_band = true;
            return Change::None;
        }
        let is_described = |set: &Set| set.kind == kind && !set.in_band;
        let contradicts = self.sets.iter().any(is_described);
        self.sets.retain(|set| !is_described(set));
        let replaces = self.sets.iter().any(same);
        match (self.put(kind, id, nal, true), contradicts, replaces) {
            (false, ..) => Change::Unusable,
            (true, true, _) => Change::Contradicts,
            (true, false, true) => Change::Changed,
            (true, false, false) => Change::New,
        }
    }

    fn put(&mut self, kind: u8, id: u8, nal: &[u8], in_band: bool) -> bool {
        let others = self.sets.iter().filter(|s| (s.kind, s.id) != (kind, id));
        let total: usize = others.map(|set| set.nal.len()).sum();
        if nal.len() > MAX_SET || total + nal.len() > MAX_TOTAL {
            return false;
        }
        let nal = nal.to_vec();
        let set = Set {
            kind,
            id,
            nal,
            in_band,
        };
        match self
            .sets
            .binary_search_by_key(&(kind, id), |set| (set.kind, set.id))
        {
            Ok(at) => self.sets[at] = set,
            Err(at) => self.sets.insert(at, set),
        }
        true
    }

    /// Returns `true` if there is a set of each of these kinds.
    pub fn have_all(&self, kinds: &[u8]) -> bool {
        let has = |kind: &u8| self.sets.iter().any(|set| set.kind == *kind);
        kinds.iter().all(has)
    }

    /// Iterates over the sets in the order in which they are sent.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.sets.iter().map(|set| set.nal.as_slice())
    }
}
