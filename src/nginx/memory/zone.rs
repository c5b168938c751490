//! The shared memory zone: how large it is, and how it lives on after a reload.
//!
//! nginx hands a zone on when the new configuration asks for the same size, and so it does as long as there is room: a
//! zone begins with plenty, which costs no memory before it is used. Where it is full nevertheless, another takes its
//! place, and what was counted is copied.
//!
//! A configuration may still be turned down when its zones are there. So a zone that is handed on is not changed before
//! nginx calls the modules of the new cycle, which is when that can't fail any more.

use core::cell::Cell;
use core::ffi::c_void;
use core::ptr;
use std::vec::Vec;

use nginx_sys::{
    ngx_conf_t, ngx_int_t, ngx_module_t, ngx_ncpu, ngx_pagesize, ngx_shared_memory_add,
    ngx_shm_zone_t,
};
use ngx::core::{CoreModuleMainConf, NgxCoreModule, SlabPool, Status};
use ngx::ngx_string;

use super::header::Header;
use super::slab::NoMemory;
use super::upstream::Upstream;
use super::wrapped::Wrapped;
use crate::nginx::api::cf::Failed;

const MIN_SIZE: usize = 4 * 1024 * 1024;

/// Pages that the slab allocator may begin for values of a size of their own.
const SPARE_PAGES: usize = 16;

/// The configuration of http{}: the upstreams that the module looks after, and their zone.
#[derive(Default)]
pub struct MainConf {
    pub upstreams: Vec<&'static Wrapped>,
    header: Cell<Option<&'static Header>>,
    /// That of the configuration before this one, and the size of its zone, until this one is accepted.
    previous: Cell<Option<(&'static Header, usize)>>,
    /// Whether the zone is that of the configuration before.
    handed_on: Cell<bool>,
    /// How many worker processes are expected.
    workers: Cell<usize>,
    size: Cell<usize>,
}

impl MainConf {
    /// Where the counters are, once nginx has made the zone.
    pub fn header(&self) -> Option<&'static Header> {
        self.header.get()
    }

    /// Asks nginx for a zone of the module that the upstreams fit in. One of the configuration before this one stays when
    /// there are none, since they may come back.
    pub fn add_zone(
        &'static self,
        cf: &mut ngx_conf_t,
        module: &'static ngx_module_t,
        previous: Option<&'static Self>,
    ) -> Result<(), Failed> {
        self.previous.set(previous.and_then(|conf| Some((conf.header()?, conf.size.get()))));

        if self.upstreams.is_empty() && self.previous.get().is_none() {
            return Ok(());
        }

        self.workers.set(expected_workers(cf));
        self.size.set(self.choose_size());

        let mut name = ngx_string!("upstream_idle_timeout");
        let tag = ptr::from_ref(module).cast_mut().cast();

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
        let Some((previous, size)) = self.previous.get() else {
            return generous(self.needed());
        };

        if self.missing_in(previous) < previous.room() {
            return size;
        }

        match generous(self.needed()) {
            // of another size, it is a new zone, without the upstreams that are no more
            // SAFETY: nginx sets the variable when it starts.
            same if same == size => same.saturating_add(unsafe { ngx_pagesize }),
            other => other,
        }
    }

    /// The memory that all takes in a new zone.
    fn needed(&self) -> usize {
        let workers = self.workers.get();

        self.upstreams.iter().fold(Header::size_of(workers), |needed, wrapped| {
            needed.saturating_add(Upstream::size_of(wrapped.capacity, workers))
        })
    }

    /// The memory that is to be allocated in this zone.
    fn missing_in(&self, header: &Header) -> usize {
        let workers = self.workers.get();

        // SAFETY: nginx sets the variable when it starts.
        let spare = SPARE_PAGES.saturating_mul(unsafe { ngx_pagesize });
        let missing = header.size_of_missing(workers).saturating_add(spare);

        self.upstreams.iter().fold(missing, |missing, wrapped| {
            missing.saturating_add(match header.find(wrapped.name.as_bytes()) {
                Some(upstream) => {
                    upstream.size_of_missing(wrapped.addresses(), wrapped.capacity, workers)
                }
                None => Upstream::size_of(wrapped.capacity, workers),
            })
        })
    }

    /// nginx has made the zone, or handed it on. What is new goes to a new one at once, so that the configuration fails
    /// when there is no memory.
    fn init(&self, zone: &ngx_shm_zone_t, handed_on: bool) -> Result<(), NoMemory> {
        // SAFETY: nginx has mapped the zone, and made a slab pool of it.
        let mut pool = unsafe { SlabPool::from_shm_zone(zone) }.ok_or(NoMemory)?;

        let header = match header_in(&pool) {
            Some(header) => header,
            None => {
                let header = Header::new(pool.clone())?;
                let pool = pool.as_mut();
                pool.data = ptr::from_ref(header).cast_mut().cast();
                pool.set_log_nomem(0);
                header
            }
        };

        self.header.set(Some(header));
        self.handed_on.set(handed_on);

        match handed_on {
            true => Ok(()),
            false => self.fill(header),
        }
    }

    /// Adds to the zone what is new in the configuration, as far as there is memory.
    fn fill(&self, header: &'static Header) -> Result<(), NoMemory> {
        let mut result = Ok(());

        for wrapped in &self.upstreams {
            let upstream = header.upstream(wrapped.name.as_bytes(), wrapped.capacity);

            let filled = upstream.and_then(|upstream| {
                wrapped.shared.set(Some(upstream));
                upstream.configure(wrapped.addresses(), wrapped.capacity)
            });

            if filled.is_err() {
                wrapped.shared.set(wrapped.shared.get().or(Some(header.spare())));
                result = filled;
            }
        }

        result
    }

    /// The configuration is accepted: nginx is done with all of it that can fail.
    pub fn accept(&self) {
        let previous = self.previous.take();

        let Some(header) = self.header.get() else {
            return;
        };

        header.forget_dead_workers();

        if let (false, Some((previous, _))) = (self.handed_on.get(), previous) {
            for upstream in self.upstreams.iter().filter_map(|wrapped| wrapped.shared.get()) {
                upstream.absorb_from(previous);
            }
        }

        if self.handed_on.get() && self.fill(header).is_err() {
            ::log::error!(
                "no memory in shared memory zone \"upstream_idle_timeout\", \
                 new upstreams or peers are not counted each for itself"
            );
        }
    }
}

/// The workers of this configuration, and as many of those before it.
fn expected_workers(cf: &ngx_conf_t) -> usize {
    let configured = NgxCoreModule::main_conf(cf).map_or(0, |conf| conf.worker_processes);
    // SAFETY: nginx sets the variable when it starts.
    let processors = unsafe { ngx_ncpu };

    usize::try_from(configured.max(processors)).unwrap_or(0).saturating_mul(2).min(1024)
}

fn header_in(pool: &SlabPool) -> Option<&'static Header> {
    // SAFETY: the pool's data is null, or what `init` has put there.
    unsafe { pool.as_ref().data.cast::<Header>().as_ref() }
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
