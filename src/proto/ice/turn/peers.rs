//! Permissions and channels of an allocation (RFC 8656 §9, §12).

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use super::frame::FIRST_CHANNEL;
use super::requests::What;

/// Maximum number of permissions at once, equal to the number of remote candidates
/// ([`Limits::max_remote_candidates`](crate::proto::peer::Limits)). Further ones are refused.
const MAX_PERMISSIONS: usize = 100;

/// Maximum number of channels. Further peers are reached by Send indications.
const MAX_CHANNELS: usize = 64;

/// Maximum number of datagrams that wait for permissions. Further ones are dropped, as on a slow path.
const MAX_HELD: usize = 64;

/// Refresh interval of permissions, one minute before their 5 minutes end (RFC 8656 §9.2).
const REFRESH_PERMISSION: Duration = Duration::from_secs(240);

/// Refresh interval of channels, one minute before their 10 minutes end (RFC 8656 §12).
const REFRESH_CHANNEL: Duration = Duration::from_secs(540);

/// Time before a refused permission or channel is requested again.
const REFUSED: Duration = Duration::from_secs(60);

/// Permissions and channels of one allocation.
#[derive(Debug, Default)]
pub(super) struct Peers {
    permissions: Vec<Entry>,
    channels: Vec<Channel>,
    held: Vec<(SocketAddr, Vec<u8>)>,
}

/// State of a permission.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Permission {
    /// It has to be requested.
    Wanted,
    /// Its request is unanswered.
    Pending,
    /// It is granted.
    Live,
    /// The server has refused it.
    Refused,
}

#[derive(Debug)]
struct Entry {
    ip: IpAddr,
    state: Permission,
    /// When it is refreshed, or may be requested again.
    next: Option<Instant>,
    /// Set if it was used since the last refresh.
    used: bool,
}

#[derive(Debug)]
struct Channel {
    peer: SocketAddr,
    state: ChannelState,
    /// When it is refreshed, or may be requested again.
    next: Option<Instant>,
    /// Set if it was used since the last refresh.
    used: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ChannelState {
    /// Never requested, or expired.
    Idle,
    /// Its request is unanswered.
    Pending,
    Bound,
    Refused,
}

impl Channel {
    fn is_bound(&self) -> bool {
        self.state == ChannelState::Bound
    }
}

impl Peers {
    /// Returns the state of the permission for this address.
    pub fn permission(&mut self, ip: IpAddr, now: Instant) -> Permission {
        let Some(entry) = self.permissions.iter_mut().find(|e| e.ip == ip) else {
            let is_full = self.permissions.len() >= MAX_PERMISSIONS;
            return if is_full {
                Permission::Refused
            } else {
                Permission::Wanted
            };
        };
        entry.used = true;
        if entry.state == Permission::Refused && entry.next.is_none_or(|at| at <= now) {
            return Permission::Wanted;
        }
        entry.state
    }

    /// Returns `true` if data from this address is permitted.
    pub fn is_permitted(&self, ip: IpAddr) -> bool {
        self.permissions
            .iter()
            .any(|e| e.ip == ip && e.state == Permission::Live)
    }

    /// Records that a permission has been requested.
    pub fn ask(&mut self, ip: IpAddr) {
        self.set(ip, Permission::Pending, None);
    }

    /// Queues a datagram until its permission is granted. Returns `false` if the queue is full.
    pub fn hold(&mut self, to: SocketAddr, contents: &[u8]) -> bool {
        let has_room = self.held.len() < MAX_HELD;
        if has_room {
            self.held.push((to, contents.to_vec()));
        }
        has_room
    }

    /// Records that a permission is granted. Returns the datagrams that waited for it, in order.
    pub fn permit(&mut self, ip: IpAddr, now: Instant) -> Vec<(SocketAddr, Vec<u8>)> {
        self.set(ip, Permission::Live, Some(now + REFRESH_PERMISSION));
        let (ready, held) = std::mem::take(&mut self.held)
            .into_iter()
            .partition(|(to, _)| to.ip() == ip);
        self.held = held;
        ready
    }

    /// Records that a permission was refused.
    pub fn refuse(&mut self, ip: IpAddr, now: Instant) {
        self.set(ip, Permission::Refused, Some(now + REFUSED));
        self.held.retain(|(to, _)| to.ip() != ip);
    }

    fn set(&mut self, ip: IpAddr, state: Permission, next: Option<Instant>) {
        if let Some(entry) = self.permissions.iter_mut().find(|e| e.ip == ip) {
            (entry.state, entry.next) = (state, next);
            return;
        }
        self.permissions.push(Entry {
            ip,
            state,
            next,
            used: true,
        });
    }

    /// Returns the channel bound to this address, if any.
    pub fn channel_to(&mut self, to: SocketAddr) -> Option<u16> {
        let mut channels = self.channels.iter_mut().enumerate();
        let (index, channel) = channels.find(|(_, c)| c.peer == to && c.is_bound())?;
        channel.used = true;
        Some(number(index))
    }

    /// Returns the address that a channel is bound to.
    pub fn of_channel(&self, number: u16) -> Option<SocketAddr> {
        let index = usize::from(number.checked_sub(FIRST_CHANNEL)?);
        self.channels
            .get(index)
            .filter(|c| c.is_bound())
            .map(|c| c.peer)
    }

    /// Returns a channel number to bind to this address. `None` if a binding is in progress or no number is free. A
    /// number stays with its address: rebinding it would have to wait for minutes.
    pub fn claim_channel(&mut self, to: SocketAddr) -> Option<u16> {
        if let Some(index) = self.channels.iter().position(|c| c.peer == to) {
            let channel = &mut self.channels[index];
            if channel.state != ChannelState::Idle {
                return None;
            }
            channel.state = ChannelState::Pending;
            return Some(number(index));
        }
        if self.channels.len() >= MAX_CHANNELS {
            return None;
        }
        self.channels.push(Channel {
            peer: to,
            state: ChannelState::Pending,
            next: None,
            used: true,
        });
        Some(number(self.channels.len() - 1))
    }

    /// Records that a channel is bound; this has refreshed its permission as well (RFC 8656 §12.2).
    pub fn bound(&mut self, number: u16, now: Instant) {
        if let Some(channel) = self.channel_mut(number) {
            channel.state = ChannelState::Bound;
            channel.next = Some(now + REFRESH_CHANNEL);
        }
    }

    /// Records that a channel was refused; it is not requested again for a while.
    pub fn unbind(&mut self, number: u16, now: Instant) {
        if let Some(channel) = self.channel_mut(number) {
            channel.state = ChannelState::Refused;
            channel.next = Some(now + REFUSED);
        }
    }

    fn channel_mut(&mut self, number: u16) -> Option<&mut Channel> {
        let index = usize::from(number.checked_sub(FIRST_CHANNEL)?);
        self.channels.get_mut(index)
    }

    /// Returns the next permission or channel that is due for a refresh. Those unused since the last one are dropped.
    pub fn next_refresh(&mut self, now: Instant) -> Option<What> {
        let is_due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        for (index, channel) in self.channels.iter_mut().enumerate() {
            if is_due(channel.next) {
                channel.next = None;
                if channel.is_bound() && std::mem::take(&mut channel.used) {
                    return Some(What::Channel(number(index), channel.peer));
                }
                channel.state = ChannelState::Idle;
            }
        }
        let in_use =
            |channels: &[Channel], ip| channels.iter().any(|c| c.is_bound() && c.peer.ip() == ip);
        while let Some(index) = self.permissions.iter().position(|e| is_due(e.next)) {
            let entry = &mut self.permissions[index];
            let used = entry.used || in_use(&self.channels, entry.ip);
            if entry.state == Permission::Live && used {
                entry.used = false;
                entry.next = None;
                return Some(What::Permission(entry.ip));
            }
            self.permissions.swap_remove(index);
        }
        None
    }

    /// Returns the time of the next refresh.
    pub fn deadline(&self) -> Option<Instant> {
        let permissions = self.permissions.iter().filter_map(|e| e.next);
        let channels = self.channels.iter().filter_map(|c| c.next);
        permissions.chain(channels).min()
    }
}

fn number(index: usize) -> u16 {
    // There are at most MAX_CHANNELS channels.
    FIRST_CHANNEL + u16::try_from(index).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(n: usize) -> SocketAddr {
        SocketAddr::from(([203, 0, 113, 1], 1 + u16::try_from(n).unwrap()))
    }

    #[test]
    fn channels_have_a_limit_and_others_have_none() {
        let (mut peers, now) = (Peers::default(), Instant::now());
        for n in 0..MAX_CHANNELS {
            let number = peers.claim_channel(peer(n)).unwrap();
            peers.bound(number, now);
        }
        assert_eq!(peers.claim_channel(peer(MAX_CHANNELS)), None);
        // That address is reached by indications.
        assert_eq!(peers.channel_to(peer(MAX_CHANNELS)), None);
        let last = peers.channel_to(peer(MAX_CHANNELS - 1));
        assert_eq!(last.map(|n| n - FIRST_CHANNEL), Some(63));
    }

    #[test]
    fn what_waits_for_permission_has_a_limit() {
        let (mut peers, now) = (Peers::default(), Instant::now());
        peers.ask(peer(0).ip());
        for n in 0..MAX_HELD + 10 {
            assert_eq!(peers.hold(peer(0), &[n as u8]), n < MAX_HELD);
        }
        let ready = peers.permit(peer(0).ip(), now).into_iter();
        let ready: Vec<_> = ready
            .map(|(_, contents)| usize::from(contents[0]))
            .collect();
        assert_eq!(ready, (0..MAX_HELD).collect::<Vec<_>>());
        assert!(peers.hold(peer(0), b"room again"));
    }
}
