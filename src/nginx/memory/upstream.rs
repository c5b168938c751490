//! An upstream in the zone: its peers, and what is counted of those that have no place of their own.

use core::fmt;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use ngx::core::slab::LockedSlabPool;
use ngx::core::SlabPool;

use super::header::Header;
use super::peer::{Peer, Pinned, OTHER};
use super::slab::{self, NoMemory, Shared};
use super::table::{Key, Seen, Table};
use super::workers;
use crate::nginx::api::clock;
use crate::rules::policy::Msec;

/// How often a worker looks through a full table for a peer that is gone.
const LOOK_INTERVAL: Msec = 1000;

/// An upstream.
pub struct Upstream {
    pub(super) next: Option<&'static Upstream>,
    pub name: &'static [u8],
    pub(super) pool: SlabPool,
    /// How many configurations named it.
    pub(super) generation: AtomicU32,
    pub(super) peers: Table,
    other: &'static Peer,
    /// Whether anything was counted as of the others.
    has_other: AtomicBool,
    /// Set when it was first found full.
    pub(super) full: AtomicBool,
    /// Set when there was first no memory for a peer.
    no_memory: AtomicBool,
    /// When a worker last looked through a full table.
    looked: AtomicU64,
}

// SAFETY: it refers to others, to peers and to a name in the zone, and to the zone's pool.
unsafe impl Shared for Upstream {}

impl Upstream {
    pub(super) fn new(
        pool: &SlabPool,
        locked: &LockedSlabPool,
        next: Option<&'static Self>,
        name: &[u8],
        capacity: usize,
    ) -> Result<&'static Self, NoMemory> {
        let name = slab::alloc_bytes(locked, name)?;

        let upstream = Self {
            next,
            name,
            pool: pool.clone(),
            generation: AtomicU32::new(0),
            peers: Table::new(locked, capacity)?,
            other: Peer::new(locked, name, OTHER)?,
            has_other: AtomicBool::new(false),
            full: AtomicBool::new(false),
            no_memory: AtomicBool::new(false),
            looked: AtomicU64::new(0),
        };

        slab::alloc(locked, upstream)
    }

    /// Adds a peer, if need be in the place of one that is gone.
    pub(super) fn add_peer(
        &'static self,
        locked: &LockedSlabPool,
        key: Key<'_>,
        generation: u32,
    ) -> Result<Option<&'static Peer>, NoMemory> {
        if let Some(peer) = self.peers.add(locked, self.name, key)? {
            return Ok(Some(peer));
        }

        let peer = self.peers.replace(locked, key, generation, self.other)?;

        if peer.is_some() {
            self.has_other.store(true, Ordering::Relaxed);
        }

        Ok(peer)
    }

    /// The peer of that name, which is added when it is new, or the others when there is no room for it.
    pub fn peer(&'static self, name: &[u8]) -> Pinned {
        let key = Key::new(name);

        match self.peers.see(key) {
            Seen::Peer(peer) => peer,
            Seen::Maybe => self.look_closer(key),
            Seen::Nothing if self.is_worth_a_look() => self.look_closer(key),
            Seen::Nothing => self.one_of_many(),
        }
    }

    /// Whether there is room for a peer, or could be.
    fn is_worth_a_look(&self) -> bool {
        if !self.peers.is_full() {
            return true;
        }

        let now = clock::event_time();
        let looked = self.looked.load(Ordering::Relaxed);

        if looked != 0 && now.saturating_sub(looked) < LOOK_INTERVAL {
            return false;
        }

        self.looked.store(now, Ordering::Relaxed);

        true
    }

    #[cold]
    fn look_closer(&'static self, key: Key<'_>) -> Pinned {
        if !workers::has_number() {
            return self.others();
        }

        match self.find_or_add(key) {
            Ok(Some(peer)) => peer,
            Ok(None) => self.one_of_many(),
            Err(NoMemory) => {
                if !self.no_memory.swap(true, Ordering::Relaxed) {
                    ::log::error!(
                        "no memory in shared memory zone for peers of upstream \"{self}\", \
                         they count as one"
                    );
                }

                self.others()
            }
        }
    }

    fn find_or_add(&'static self, key: Key<'_>) -> Result<Option<Pinned>, NoMemory> {
        let locked = self.pool.lock();
        let generation = self.generation.load(Ordering::Relaxed);

        // another process may have added it meanwhile
        let peer = match self.peers.find(key) {
            Some(peer) => Some(peer),
            None => self.add_peer(&locked, key, generation)?,
        };

        peer.map(|peer| peer.pin_locked(&locked)).transpose()
    }

    fn one_of_many(&'static self) -> Pinned {
        if !self.full.swap(true, Ordering::Relaxed) {
            ::log::warn!(
                "upstream \"{self}\" has had too many peers to count each, the others count as one"
            );
        }

        self.others()
    }

    /// The others, which are never given up.
    fn others(&'static self) -> Pinned {
        self.has_other.store(true, Ordering::Relaxed);

        let pinned = self.other.pin().or_else(|| {
            workers::has_number().then(|| self.other.pin_locked(&self.pool.lock()).ok())?
        });

        pinned.unwrap_or_else(|| self.other.unpinned())
    }

    /// The peers in the table, and the others. The caller has the lock.
    pub(super) fn all_peers(&'static self) -> impl Iterator<Item = &'static Peer> {
        self.peers.peers().chain([self.other])
    }

    /// Shows each peer, and the others if there were any; meanwhile none becomes another.
    pub fn each_peer(&self, each: impl FnMut(&Peer) -> Option<()>) -> Option<()> {
        let _lock = self.pool.lock();
        let others = self.has_other.load(Ordering::Relaxed).then_some(self.other);

        self.peers.peers().chain(others).try_for_each(each)
    }

    /// Takes over what was counted and learned in a zone that is replaced, and whose workers are about to end.
    pub fn absorb_from(&'static self, header: &Header) {
        let Some(before) = header.find(self.name) else {
            return;
        };

        let locked = self.pool.lock();

        let _ = before.each_peer(|old| {
            let (name, figures) = (old.name(), old.snapshot());
            let key = Key::new(name);

            let peer = match self.peers.find(key) {
                Some(peer) => Some(peer),
                None if name == OTHER => None,
                None => self.peers.add(&locked, self.name, key).ok().flatten(),
            };

            match peer {
                Some(peer) => {
                    peer.absorb(&figures);
                    peer.learned.absorb(&old.learned);
                }
                None => {
                    self.other.absorb(&figures);
                    self.has_other.store(true, Ordering::Relaxed);
                }
            }

            Some(())
        });

        self.full.store(before.full.load(Ordering::Relaxed), Ordering::Relaxed);
    }
}

impl fmt::Display for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.name.escape_ascii().fmt(f)
    }
}
