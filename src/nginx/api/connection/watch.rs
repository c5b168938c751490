//! An idle connection that is in no cache, and that nobody is to use: all that it can do is end.

use nginx_sys::{
    ngx_add_timer, ngx_connection_t, ngx_event_t, ngx_handle_read_event, ngx_msec_t, NGX_OK,
};

use super::Connection;
use crate::nginx::api::log;
use crate::rules::policy::Msec;

impl Connection {
    /// Keeps a connection that the keepalive module has handed out, as that module does, until its peer ends it or so much
    /// time has passed; it may be closed at once.
    pub fn watch(self, left: Msec) {
        // what it logs to belongs to the request that it was handed to
        let log = log::cycle().map_or(self.log(), |log| log.as_ptr());
        let c = self.as_ptr();

        // SAFETY: the connection is open and the caller's alone; nginx gives it its events and its pool for as long.
        let read = unsafe {
            (*c).set_idle(1);
            (*c).log = log;
            (*(*c).pool).log = log;
            (*(*c).read).log = log;
            (*(*c).write).log = log;
            (*(*c).read).handler = Some(handle_read);
            (*(*c).write).handler = Some(handle_write);
            (*c).read
        };

        // SAFETY: as above; the keepalive module has taken its own timer away.
        unsafe { ngx_add_timer(read, left as ngx_msec_t) };
        // SAFETY: the handler is called as nginx would.
        unsafe { handle_read(read) };
    }
}

/// nginx reads from the connection, its time is over, or the worker ends.
unsafe extern "C" fn handle_read(ev: *mut ngx_event_t) {
    // SAFETY: nginx passes an event of a connection, which is its data.
    let c = unsafe { (*ev).data }.cast::<ngx_connection_t>();

    // SAFETY: `watch` has set the handler of an open connection, which nginx calls for no other.
    let Some(connection) = (unsafe { Connection::from_raw(c) }) else {
        return;
    };

    let is_over = connection.is_told_to_close()
        || connection.has_timed_out()
        || connection.is_dead()
        || !goes_on(ev);

    if is_over {
        connection.close();
    }
}

/// Waits for the next event.
fn goes_on(ev: *mut ngx_event_t) -> bool {
    // SAFETY: the event is that of an open connection, which has nothing to read.
    unsafe {
        (*ev).set_ready(0);

        ngx_handle_read_event(ev, 0) == NGX_OK as isize
    }
}

unsafe extern "C" fn handle_write(_ev: *mut ngx_event_t) {}
