//! Which connections are open. Those that wait for a request make room for new ones, the longest
//! silent first.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    net::IpAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};
use tokio::sync::Notify;

/// Open connections, whatever the machine allows.
const OPEN_MAX: usize = 4_096;
/// Open connections of one address.
const PEER_MAX: usize = 2_048;
/// Connections that wait for a request.
const SILENT_MAX: usize = 512;
/// Descriptors that are left for files, tools and subscribers.
const RESERVE: usize = 256;
/// Descriptors of a process where the machine does not say.
const DESCRIPTORS_DEFAULT: usize = 1_024;

/// The open connections of a server.
pub(super) struct Connections {
    open_max: usize,
    table: Arc<Mutex<Table>>,
}

#[derive(Default)]
struct Table {
    next: u64,
    open: HashMap<u64, Open>,
    /// When each began to be silent, by a count; the least first.
    silent: BTreeMap<u64, u64>,
    clock: u64,
    peers: HashMap<IpAddr, Peer>,
    /// Requests of each caller that are being answered.
    callers: HashMap<u64, usize>,
}

/// Connections of one address.
#[derive(Default)]
struct Peer {
    open: usize,
    /// Those whose request is being answered.
    busy: usize,
}

struct Open {
    peer: IpAddr,
    evict: Arc<Evict>,
    /// Its place among the silent; none while a request of it is answered.
    since: Option<u64>,
}

#[derive(Default)]
struct Evict {
    done: AtomicBool,
    notify: Notify,
}

/// A connection's place; given back when it is dropped.
pub(super) struct Held {
    id: u64,
    evict: Arc<Evict>,
    table: Arc<Mutex<Table>>,
}

/// Names a connection.
#[derive(Clone)]
pub(super) struct Ticket(u64);

/// A request of a connection is being answered.
pub(super) struct Busy {
    id: u64,
    caller: u64,
    table: Arc<Mutex<Table>>,
}

impl Default for Connections {
    fn default() -> Self {
        let descriptors = descriptors().unwrap_or(DESCRIPTORS_DEFAULT);
        let open_max = descriptors.saturating_sub(RESERVE).clamp(RESERVE / 4, OPEN_MAX);
        Self { open_max, table: Arc::default() }
    }
}

// The soft limit of this process.
fn descriptors() -> Option<usize> {
    let limits = fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits.lines().find(|line| line.starts_with("Max open files"))?;
    line.split_whitespace().nth(3)?.parse().ok()
}

impl Connections {
    /// A place for a new connection; where there is none, that of the one which has been silent
    /// longest. `None`: everybody is busy.
    pub(super) fn admit(&self, peer: IpAddr) -> Option<Held> {
        let mut table = lock(&self.table);
        if table.silent.len() >= SILENT_MAX {
            table.evict(None);
        }
        if table.open.len() >= self.open_max && !table.evict(None) {
            return None;
        }
        if table.peers.get(&peer).is_some_and(|peer| peer.open >= PEER_MAX)
            && !table.evict(Some(peer))
        {
            return None;
        }
        table.next += 1;
        let (id, evict) = (table.next, Arc::new(Evict::default()));
        table.clock += 1;
        let since = table.clock;
        table.open.insert(id, Open { peer, evict: evict.clone(), since: Some(since) });
        table.silent.insert(since, id);
        table.peers.entry(peer).or_default().open += 1;
        Some(Held { id, evict, table: self.table.clone() })
    }

    /// Ends every connection that waits for a request. How many are left: theirs are being
    /// answered.
    pub(super) fn close_silent(&self) -> usize {
        let mut table = lock(&self.table);
        while table.evict(None) {}
        table.open.len()
    }

    /// Says that a request of a connection is answered, until what it gives is dropped. `None`: as
    /// many of its caller are answered as there are places left for everybody else.
    pub(super) fn busy(&self, ticket: &Ticket, caller: u64) -> Option<Busy> {
        let mut table = lock(&self.table);
        let peer = table.open.get(&ticket.0)?.peer;
        let of_peer = table.peers.get(&peer).map_or(0, |peer| peer.busy);
        let left = self.open_max.saturating_sub(table.open.len() - table.silent.len());
        let left = left.min(PEER_MAX.saturating_sub(of_peer));
        if table.callers.get(&caller).copied().unwrap_or(0) >= left {
            return None;
        }
        *table.callers.entry(caller).or_default() += 1;
        table.speak(ticket.0);
        Some(Busy { id: ticket.0, caller, table: self.table.clone() })
    }
}

impl Table {
    fn silence(&mut self, id: u64) {
        let Some(open) = self.open.get_mut(&id).filter(|open| open.since.is_none()) else { return };
        self.clock += 1;
        open.since = Some(self.clock);
        self.silent.insert(self.clock, id);
        if let Some(peer) = self.peers.get_mut(&open.peer) {
            peer.busy -= 1;
        }
    }

    fn speak(&mut self, id: u64) {
        let Some(open) = self.open.get_mut(&id) else { return };
        let Some(since) = open.since.take() else { return };
        self.silent.remove(&since);
        if let Some(peer) = self.peers.get_mut(&open.peer) {
            peer.busy += 1;
        }
    }

    // Ends the longest silent connection, of one peer or of all. Its place is free at once.
    fn evict(&mut self, peer: Option<IpAddr>) -> bool {
        let of = |id: &u64| {
            self.open.get(id).is_some_and(|open| peer.is_none_or(|peer| open.peer == peer))
        };
        let Some(id) = self.silent.values().find(|id| of(id)).copied() else { return false };
        if let Some(open) = self.forget(id) {
            open.evict.done.store(true, Ordering::SeqCst);
            open.evict.notify.notify_one();
        }
        true
    }

    fn forget(&mut self, id: u64) -> Option<Open> {
        self.silence(id);
        let open = self.open.remove(&id)?;
        if let Some(since) = open.since {
            self.silent.remove(&since);
        }
        if let Some(peer) = self.peers.get_mut(&open.peer) {
            peer.open -= 1;
            if peer.open == 0 {
                self.peers.remove(&open.peer);
            }
        }
        Some(open)
    }
}

fn lock(table: &Mutex<Table>) -> std::sync::MutexGuard<'_, Table> {
    table.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Held {
    /// Its name.
    pub(super) fn ticket(&self) -> Ticket {
        Ticket(self.id)
    }
    /// Ends when others need its place.
    pub(super) async fn evicted(&mut self) {
        while !self.evict.done.load(Ordering::SeqCst) {
            self.evict.notify.notified().await;
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        lock(&self.table).forget(self.id);
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let mut table = lock(&self.table);
        table.silence(self.id);
        if let Some(count) = table.callers.get_mut(&self.caller) {
            *count -= 1;
            if *count == 0 {
                table.callers.remove(&self.caller);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    #[test]
    fn bounded_work_the_longest_silent_makes_room_and_the_busy_stay() {
        let connections = Connections { open_max: 4, table: Arc::default() };
        let peer = IpAddr::from(Ipv4Addr::LOCALHOST);
        let held: Vec<Held> = (0..4).map(|_| connections.admit(peer).unwrap()).collect();
        let busy: Vec<Busy> = held[..2]
            .iter()
            .zip(1..)
            .map(|(held, caller)| connections.busy(&held.ticket(), caller).unwrap())
            .collect();
        let evicted = |index: usize| held[index].evict.done.load(Ordering::SeqCst);
        let fifth = connections.admit(peer).unwrap();
        assert!(!evicted(0) && !evicted(1) && evicted(2) && !evicted(3));
        let spoken = connections.busy(&fifth.ticket(), 3).unwrap();
        let _sixth = connections.admit(peer).unwrap();
        assert!(evicted(3));
        let seventh = connections.admit(peer).unwrap();
        let _answering = connections.busy(&seventh.ticket(), 4).unwrap();
        assert!(connections.admit(peer).is_none(), "all are busy");
        drop((busy, spoken));
        assert!(connections.admit(peer).is_some());
    }

    #[test]
    fn bounded_work_one_caller_leaves_as_many_places_as_it_takes() {
        let connections = Connections { open_max: 90, table: Arc::default() };
        let peer = IpAddr::from(Ipv4Addr::LOCALHOST);
        let mut answered: Vec<(Held, Busy)> = Vec::new();
        let mut flood = |caller: u64| {
            let before = answered.len();
            while let Some(held) = connections.admit(peer) {
                let Some(busy) = connections.busy(&held.ticket(), caller) else { break };
                answered.push((held, busy));
            }
            answered.len() - before
        };
        assert_eq!(
            [flood(1), flood(2), flood(3)],
            [45, 23, 11],
            "each takes half of what is left at most"
        );
        assert_eq!(flood(1), 0);
        drop(answered);
        let table = lock(&connections.table);
        assert!(table.callers.is_empty() && table.open.is_empty() && table.silent.is_empty());
    }

    #[test]
    fn bounded_work_silent_connections_are_few() {
        let connections = Connections { open_max: 10_000, table: Arc::default() };
        let peer = IpAddr::from(Ipv4Addr::LOCALHOST);
        let held: Vec<Held> = (0..5_000).map(|_| connections.admit(peer).unwrap()).collect();
        assert_eq!(lock(&connections.table).open.len(), SILENT_MAX);
        drop(held);
        assert!(lock(&connections.table).peers.is_empty());
    }
}
