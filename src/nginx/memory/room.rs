//! Room in the zone for the peers that a configuration names: each of them has a place of its own.

use core::sync::atomic::Ordering;

use ngx::core::slab::LockedSlabPool;

use super::peer::Peer;
use super::slab::{self, NoMemory};
use super::table::{Key, Table};
use super::upstream::Upstream;

impl Upstream {
    /// The memory that an upstream with so many peers takes at the most.
    pub fn size_of(peers: usize, workers: usize) -> usize {
        slab::size_of::<Self>(1)
            .saturating_add(slab::size_of::<u8>(128))
            .saturating_add(Table::size_of(peers))
            .saturating_add(Peer::size_of(workers).saturating_mul(peers.saturating_add(1)))
    }

    /// The memory that is still to be allocated for these peers, and as many as there is to be room for.
    pub fn size_of_missing<'a>(
        &self,
        addresses: impl Iterator<Item = &'a [u8]>,
        capacity: usize,
        workers: usize,
    ) -> usize {
        let _lock = self.pool.lock();

        let new = addresses.filter(|address| self.peers.find(Key::new(address)).is_none()).count();
        let known = self.peers.peers().count();
        let places = self.peers.capacity();
        let peers = known.saturating_add(new).max(capacity).max(places);

        let table = match peers.saturating_sub(places) {
            0 => 0,
            more => Table::size_of(more.next_power_of_two()),
        };

        Peer::size_of(workers).saturating_mul(peers.saturating_sub(known)).saturating_add(table)
    }

    /// Sees to it that each of the peers that the configuration names has a place of its own.
    pub fn configure<'a>(
        &'static self,
        addresses: impl Iterator<Item = &'a [u8]> + Clone,
        capacity: usize,
    ) -> Result<(), NoMemory> {
        let locked = self.pool.lock();
        let generation = self.generation.load(Ordering::Relaxed).wrapping_add(1);

        // before a place is looked for, so that none of them has to give up its own
        for peer in addresses.clone().filter_map(|address| self.peers.find(Key::new(address))) {
            peer.set_named(generation);
        }

        self.grow(&locked, capacity)?;

        for address in addresses {
            self.configured_peer(&locked, Key::new(address), generation)?.set_named(generation);
        }

        self.generation.store(generation, Ordering::Relaxed);

        Ok(())
    }

    fn configured_peer(
        &'static self,
        locked: &LockedSlabPool,
        key: Key<'_>,
        generation: u32,
    ) -> Result<&'static Peer, NoMemory> {
        if let Some(peer) = self.peers.find(key) {
            return Ok(peer);
        }

        if let Some(peer) = self.add_peer(locked, key, generation)? {
            return Ok(peer);
        }

        // those that are gone have connections yet
        self.grow(locked, self.peers.capacity().saturating_add(1))?;
        self.peers.add(locked, self.name, key)?.ok_or(NoMemory)
    }

    fn grow(&self, locked: &LockedSlabPool, capacity: usize) -> Result<(), NoMemory> {
        match capacity.saturating_sub(self.peers.capacity()) {
            0 => Ok(()),
            more => self.peers.add_capacity(locked, more.next_power_of_two().max(16)),
        }
    }
}
