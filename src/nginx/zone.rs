//! The shared memory zone: how large it is, and how it lives on after a reload.
//!
//! nginx hands a zone on when the new configuration asks for the same size, and so it does as long as there is room: a
//! zone begins with plenty, which costs no memory before it is used. Where it is full nevertheless, another takes its
//! place, and what was counted is copied.

use core::cell::Cell;
use core::ffi::c_void;
use core::ptr;
use std::vec::Vec;

use nginx_sys::{
    ngx_conf_t, ngx_int_t, ngx_ncpu, ngx_pagesize, ngx_shared_memory_add, ngx_shm_zone_t,
};
use ngx::core::{CoreModuleMainConf, NgxCoreModule, SlabPool, Status};
use ngx::http::{HttpModule, HttpModuleMainConf};
use ngx::ngx_string;

use super::cf::Failed;
use super::shared::{Header, NoMemory, Upstream};
use super::upstream::Wrapped;
use super::IdleTimeoutModule;

const MIN_SIZE: usize = 4 * 1024 * 1024;

/// The configuration of http{}: the upstreams that the module looks after, and their zone.
#[derive(Default)]
pub struct MainConf {
    pub upstreams: Vec<&'static Wrapped>,
    header: Cell<Option<&'static Header>>,
    /// That of the configuration before this one, and the size of its zone.
    previous: Cell<Option<(&'static Header, usize)>>,
    /// How many worker processes the zone has room for.
    workers: Cell<usize>,
    size: Cell<usize>,
}

impl MainConf {
    /// Where the counters are, once nginx has made the zone.
    pub fn header(&self) -> Option<&'static Header> {
        self.header.get()
    }

    /// Asks nginx for a zone that the upstreams fit in.
    pub fn add_zone(&'static self, cf: &mut ngx_conf_t) -> Result<(), Failed> {
        if self.upstreams.is_empty() {
            return Ok(());
        }

        self.previous.set(previous_zone(cf));
        self.workers.set(max_workers(cf));
        self.size.set(self.choose_size());

        let mut name = ngx_string!("upstream_idle_timeout");
        let tag = ptr::from_ref(IdleTimeoutModule::module()).cast_mut().cast();

        // SAFETY: nginx copies the name.
        let zone = unsafe { ngx_shared_memory_add(cf, &mut name, self.size.get(), tag) };

        // SAFETY: the zone is null, or part of the cycle that nginx makes.
        let zone = unsafe { zone.as_mut() }.ok_or(Failed)?;

        zone.init = Some(init_zone);
        zone.data = ptr::from_ref(self).cast_mut().cast();

        Ok(())
    }

    /// The size of the zone before this one if all fits in there, or else one with room to spare.
    fn choose_size(&self) -> usize {
        let workers = self.workers.get();

        let Some((previous, size)) = self.previous.get() else {
            return generous(self.needed(workers, |_| true));
        };

        let new = |upstream: &Wrapped| {
            previous.find(upstream.name.as_bytes(), upstream.capacity).is_none()
        };

        // the slab allocator takes some for itself
        let room = size.saturating_sub(size / 8);

        if previous.used().saturating_add(self.needed(workers, new)) < room {
            return size;
        }

        match generous(self.needed(workers, |_| true)) {
            // of another size, it is a new zone, without the upstreams that are no more
            // SAFETY: nginx sets the variable when it starts.
            same if same == size => same.saturating_add(unsafe { ngx_pagesize }),
            other => other,
        }
    }

    fn needed(&self, workers: usize, which: impl Fn(&Wrapped) -> bool) -> usize {
        self.upstreams
            .iter()
            .filter(|upstream| which(upstream))
            .fold(Header::size_of(workers), |needed, upstream| {
                needed.saturating_add(Upstream::size_of(upstream.capacity, workers))
            })
    }

    /// Adds to the zone what is new in the configuration.
    fn init(&self, zone: &ngx_shm_zone_t, handed_on: bool) -> Result<(), NoMemory> {
        // SAFETY: nginx has mapped the zone, and made a slab pool of it.
        let mut pool = unsafe { SlabPool::from_shm_zone(zone) }.ok_or(NoMemory)?;

        let header = match header_in(&pool) {
            Some(header) => header,
            None => {
                let header = Header::new(pool.clone(), self.workers.get())?;
                let pool = pool.as_mut();
                pool.data = ptr::from_ref(header).cast_mut().cast();
                pool.set_log_nomem(0);
                header
            }
        };

        for wrapped in &self.upstreams {
            let upstream = header.upstream(wrapped.name.as_bytes(), wrapped.capacity)?;

            for address in wrapped.addresses() {
                upstream.peer(address.as_bytes());
            }

            if let (false, Some((previous, _))) = (handed_on, self.previous.get()) {
                upstream.absorb_from(previous);
            }

            wrapped.shared.set(Some(upstream));
        }

        self.header.set(Some(header));

        Ok(())
    }
}

/// Room for the workers of this configuration, for those of the one before, and for some more.
fn max_workers(cf: &ngx_conf_t) -> usize {
    let configured = NgxCoreModule::main_conf(cf).map_or(0, |conf| conf.worker_processes);
    // SAFETY: nginx sets the variable when it starts.
    let processors = unsafe { ngx_ncpu };

    usize::try_from(configured.max(processors)).unwrap_or(0).saturating_mul(4).clamp(16, 1024)
}

fn header_in(pool: &SlabPool) -> Option<&'static Header> {
    // SAFETY: the pool's data is null, or what `init` has put there.
    unsafe { pool.as_ref().data.cast::<Header>().as_ref() }
}

fn previous_zone(cf: &ngx_conf_t) -> Option<(&'static Header, usize)> {
    // SAFETY: nginx reads a configuration for a cycle, and keeps the one before until it is done.
    let cycle = unsafe { cf.cycle.as_ref()?.old_cycle.as_ref() }?;
    let conf = IdleTimeoutModule::main_conf(cycle)?;

    Some((conf.header()?, conf.size.get()))
}

/// A power of two that is several times as much.
fn generous(needed: usize) -> usize {
    needed.saturating_mul(4).next_power_of_two().max(MIN_SIZE)
}

/// nginx calls this when it has mapped the zone; `data` is that of the zone it was before, if it was handed on.
unsafe extern "C" fn init_zone(zone: *mut ngx_shm_zone_t, data: *mut c_void) -> ngx_int_t {
    // SAFETY: nginx passes a zone of its cycle.
    let zone = unsafe { &*zone };
    // SAFETY: `add_zone` has set the data of the zone.
    let conf = unsafe { &*zone.data.cast::<MainConf>() };

    if let Err(NoMemory) = conf.init(zone, !data.is_null()) {
        ::log::error!("no memory in shared memory zone \"{}\"", zone.shm.name);
        return Status::NGX_ERROR.into();
    }

    Status::NGX_OK.into()
}
