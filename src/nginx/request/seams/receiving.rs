//! What comes first on a reused connection: for a while its `recv` stands behind one of the module's.
//!
//! In HTTP/2, nginx reads a GOAWAY and says nothing of it. And where a request may be sent again only if the peer's kernel
//! has refused it, the end of the stream is kept from nginx until the reset comes that says so: see
//! `ngx_http_upstream_process_header()` in nginx's src/http/ngx_http_upstream.c, and `ngx_unix_recv()` in
//! src/os/unix/ngx_recv.c. A reset wakes the worker as every event of the socket does, and the record of the connection
//! has it wake up when none comes.

use core::cell::Cell;

use nginx_sys::{
    nginx_version, ngx_connection_t, ngx_http_request_t, ngx_http_upstream_t, ngx_recv_pt, u_char,
    NGX_AGAIN, NGX_ERROR,
};

use crate::nginx::api::connection::Connection;
use crate::nginx::api::{array, clock, worker};
use crate::nginx::idle::record::Record;
use crate::nginx::request::callbacks;
use crate::nginx::request::peer::PeerData;
use crate::rules::evidence::Held;
use crate::rules::policy::Msec;
use crate::rules::protocol::goaway::Frames;

/// The `recv` that is wrapped, if it is, and what was read by it.
pub struct Receiving {
    recv: Cell<ngx_recv_pt>,
    frames: Cell<Frames>,
    /// Whether something has come that is no frame of the connection's own.
    past_frames: Cell<bool>,
    /// Until when the end of the stream is kept back at the most; `NOT_YET` when it has not come.
    last: Cell<Msec>,
    /// What was seen meanwhile.
    held: Cell<Held>,
}

const NOT_YET: Msec = 0;

impl Receiving {
    pub fn none() -> Self {
        Self {
            recv: Cell::new(None),
            frames: Cell::new(Frames::default()),
            past_frames: Cell::new(false),
            last: Cell::new(NOT_YET),
            held: Cell::new(Held::default()),
        }
    }

    /// Begins to read along.
    pub fn begin(&self, connection: Connection) {
        self.frames.set(Frames::default());
        self.past_frames.set(false);
        self.last.set(NOT_YET);
        self.held.set(Held::default());

        // SAFETY: the connection is open, and nginx does not read meanwhile.
        let recv = unsafe { &mut (*connection.as_ptr()).recv };

        self.recv.set(recv.replace(receive));
    }

    /// Puts nginx's `recv` in its place again.
    pub fn end(&self, connection: Connection) {
        if let Some(recv) = self.recv.take() {
            // SAFETY: the connection is that of `begin`, and is open.
            unsafe { (*connection.as_ptr()).recv = Some(recv) };

            if self.last.get() != NOT_YET {
                Record::of(&connection).inspect(|record| record.release());
            }
        }
    }

    /// What was seen while the end of the stream was kept back.
    pub fn held(&self) -> Held {
        self.held.get()
    }

    /// Whether the backend has said that it does not carry out the request that is the last one on the connection.
    pub fn is_goaway(&self, connection: Connection) -> bool {
        // SAFETY: the connection is open.
        let requests = unsafe { (*connection.as_ptr()).requests };
        // the streams of a client have odd numbers
        let stream = requests.saturating_mul(2).saturating_sub(1);

        self.frames.get().last_stream().is_some_and(|last| (last as usize) < stream)
    }

    /// Whether a response has begun, or what comes is not HTTP/2 at all.
    pub fn is_past_frames(&self) -> bool {
        self.past_frames.get()
    }

    /// Takes in what was read; what nginx is told of it.
    fn read(&self, data: &PeerData, connection: Connection, bytes: &[u8]) -> isize {
        let mut frames = self.frames.get();
        let more = may_be_http2(data.upstream()) && frames.read(bytes);

        self.frames.set(frames);

        if !more {
            self.past_frames.set(true);
            self.end(connection);
        } else if data.repeats_goaway() && self.is_goaway(connection) {
            // the headers of the response would be an error of another kind, after which nginx does not go on
            return NGX_ERROR as isize;
        }

        bytes.len() as isize
    }

    /// Whether nginx is not to be told yet that the stream has ended.
    fn holds_back(&self, data: &PeerData, connection: Connection) -> bool {
        // otherwise nginx would ask again and again
        if !worker::hears_once() || !data.waits_for_reset(data.repeated_by()) {
            return false;
        }

        let seen = connection.seen(connection.written(data.tls_written()));
        let (now, wait) = (clock::now(), seen.tcp.map(|tcp| tcp.wait));

        let mut held = self.held.get();

        held.see(&seen);
        self.held.set(held);

        let (Some(wait), Some(record)) =
            (wait.filter(|_| seen.may_be_refused()), Record::of(&connection))
        else {
            return false;
        };

        if self.last.get() == NOT_YET {
            self.last.set(now.saturating_add(wait.last));
        }

        let last = self.last.get();

        if now >= last {
            return false;
        }

        // an acknowledgement wakes nobody
        record.hold(last.min(now.saturating_add(wait.first)));

        true
    }
}

/// Whether the backend is spoken to in HTTP/2: in gRPC it is, and from 1.29.4 on nginx has it for others.
pub fn may_be_http2(upstream: &ngx_http_upstream_t) -> bool {
    let schema = upstream.schema.as_bytes();

    schema.starts_with(b"grpc") || nginx_version >= 1_029_004 && schema.starts_with(b"http")
}

/// nginx reads from the connection.
unsafe extern "C" fn receive(c: *mut ngx_connection_t, buf: *mut u_char, size: usize) -> isize {
    // SAFETY: nginx passes an open connection, which belongs to a request from `get` to `free`.
    let request = unsafe { (*c).data.cast::<ngx_http_request_t>().as_ref() };
    // SAFETY: as above.
    let connection = unsafe { Connection::from_raw(c) };

    let Some((data, connection)) = request.and_then(callbacks::data_of).zip(connection) else {
        return NGX_ERROR as isize;
    };

    let receiving = data.receiving();

    let Some(recv) = receiving.recv.get() else {
        return NGX_ERROR as isize;
    };

    // SAFETY: it is called as nginx would.
    let n = unsafe { recv(c, buf, size) };

    match usize::try_from(n) {
        Ok(0) if receiving.holds_back(data, connection) => {
            connection.hold_back_end();
            NGX_AGAIN as isize
        }
        Ok(0) | Err(_) => n,
        Ok(len) => {
            // SAFETY: so many bytes were written there.
            let bytes = unsafe { array::from_raw(buf.cast_const(), len) };

            receiving.read(data, connection, bytes)
        }
    }
}
