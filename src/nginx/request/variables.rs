//! The variables: for each try of a request, how it came by its connection, and what became of it.

use core::fmt::{self, Write};
use core::mem::MaybeUninit;
use core::ptr::NonNull;
use core::slice;

use nginx_sys::{
    ngx_conf_t, ngx_http_add_variable, ngx_http_get_variable_pt, ngx_http_request_t,
    ngx_http_upstream_state_t, ngx_http_variable_value_t, ngx_int_t, ngx_pnalloc, ngx_str_t,
    ngx_uint_t, NGX_HTTP_VAR_NOCACHEABLE,
};
use ngx::core::Status;
use ngx::ngx_string;

use super::callbacks::tries;
use super::tries::{has_header, Try, Way};
use crate::nginx::api::array;
use crate::nginx::api::cf::Failed;
use crate::rules::policy::Msec;

/// Room for the value of a try, and for what separates it from the next.
const MAX_LEN: usize = 32;

const VARIABLES: [(ngx_str_t, ngx_http_get_variable_pt); 5] = [
    (ngx_string!("upstream_reused"), Some(reused)),
    (ngx_string!("upstream_idle_time"), Some(idle_time)),
    (ngx_string!("upstream_idle_limit"), Some(idle_limit)),
    (ngx_string!("upstream_reuse_outcome"), Some(outcome)),
    (ngx_string!("upstream_reuse_evidence"), Some(evidence)),
];

/// Adds the variables to the configuration.
pub fn add(cf: &mut ngx_conf_t) -> Result<(), Failed> {
    for (mut name, handler) in VARIABLES {
        let flags = NGX_HTTP_VAR_NOCACHEABLE as ngx_uint_t;

        // SAFETY: nginx copies the name.
        let variable = unsafe { ngx_http_add_variable(cf, &mut name, flags) };
        // SAFETY: nginx returns null, or the variable in the configuration.
        let variable = unsafe { variable.as_mut() }.ok_or(Failed)?;

        variable.get_handler = handler;
    }

    Ok(())
}

/// Writes what a variable says about a try.
type WriteTry = fn(&mut dyn Write, &Try, &ngx_http_upstream_state_t) -> fmt::Result;

fn write_reused(
    out: &mut dyn Write,
    this: &Try,
    _state: &ngx_http_upstream_state_t,
) -> fmt::Result {
    out.write_str(match this.way {
        Way::Nowhere => "-",
        Way::Fresh => "0",
        Way::Reused { .. } => "1",
    })
}

fn write_idle_time(
    out: &mut dyn Write,
    this: &Try,
    _state: &ngx_http_upstream_state_t,
) -> fmt::Result {
    write_seconds(out, this.idle())
}

fn write_idle_limit(
    out: &mut dyn Write,
    this: &Try,
    _state: &ngx_http_upstream_state_t,
) -> fmt::Result {
    write_seconds(out, this.limit())
}

fn write_seconds(out: &mut dyn Write, msec: Option<Msec>) -> fmt::Result {
    match msec {
        Some(msec) => write!(out, "{}.{:03}", msec / 1000, msec % 1000),
        None => out.write_str("-"),
    }
}

fn write_outcome(
    out: &mut dyn Write,
    this: &Try,
    state: &ngx_http_upstream_state_t,
) -> fmt::Result {
    out.write_str(match (this.idle(), this.failed) {
        (Some(_), Some(failed)) => failed.kind.name(),
        (Some(_), None) if has_header(state) => "ok",
        _ => "-",
    })
}

fn write_evidence(
    out: &mut dyn Write,
    this: &Try,
    _state: &ngx_http_upstream_state_t,
) -> fmt::Result {
    out.write_str(this.failed.map_or("-", |failed| failed.evidence.name()))
}

/// Writes a value for each try, separated as in `$upstream_addr`: by a comma, or by a colon where the request went on
/// to another upstream.
fn write_tries(
    out: &mut dyn Write,
    r: &ngx_http_request_t,
    states: &[ngx_http_upstream_state_t],
    write: WriteTry,
) -> fmt::Result {
    let mut states = states.iter().enumerate().peekable();

    while let Some((number, state)) = states.next() {
        match tries(r).find(|this| this.state() == number) {
            Some(this) => write(out, &this, state),
            None => out.write_char('-'),
        }?;

        match states.peek() {
            None => break,
            Some((_, next)) if !next.peer.is_null() => out.write_str(", ")?,
            Some(_) => {
                // nginx marks the change with a state that has no peer
                states.next();
                out.write_str(" : ")?;
            }
        }
    }

    Ok(())
}

/// Memory for the text of a variable.
struct Text<'a> {
    memory: &'a mut [MaybeUninit<u8>],
    len: usize,
}

impl Write for Text<'_> {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        let end = self.len.checked_add(s.len()).ok_or(fmt::Error)?;

        for (place, byte) in
            self.memory.get_mut(self.len..end).ok_or(fmt::Error)?.iter_mut().zip(s.bytes())
        {
            place.write(byte);
        }

        self.len = end;

        Ok(())
    }
}

/// Gives a variable its value.
fn set(
    r: &ngx_http_request_t,
    value: &mut ngx_http_variable_value_t,
    write: WriteTry,
) -> Option<()> {
    value.set_valid(1);
    value.set_no_cacheable(0);
    value.set_not_found(1);

    // SAFETY: the pointer is null, or to an array of states in the request's pool.
    let states: &[ngx_http_upstream_state_t] = unsafe { array::elements(r.upstream_states) };

    if states.is_empty() {
        return Some(());
    }

    let len = states.len().checked_mul(MAX_LEN)?;

    // SAFETY: the request's pool is valid.
    let memory = unsafe { ngx_pnalloc(r.pool, len) }.cast::<MaybeUninit<u8>>();
    // SAFETY: as much memory was asked for, and nobody else has it.
    let memory = unsafe { slice::from_raw_parts_mut(NonNull::new(memory)?.as_ptr(), len) };

    let mut text = Text { memory, len: 0 };
    write_tries(&mut text, r, states, write).ok()?;

    value.set_len(u32::try_from(text.len).ok()?);
    value.data = text.memory.as_mut_ptr().cast();
    value.set_not_found(0);

    Some(())
}

/// A handler that nginx calls for the value of a variable.
macro_rules! handler {
    ($name: ident, $write: ident) => {
        unsafe extern "C" fn $name(
            r: *mut ngx_http_request_t,
            value: *mut ngx_http_variable_value_t,
            _data: usize,
        ) -> ngx_int_t {
            // SAFETY: nginx passes a request, and a value to fill in.
            match set(unsafe { &*r }, unsafe { &mut *value }, $write) {
                Some(()) => Status::NGX_OK.into(),
                None => Status::NGX_ERROR.into(),
            }
        }
    };
}

handler!(reused, write_reused);
handler!(idle_time, write_idle_time);
handler!(idle_limit, write_idle_limit);
handler!(outcome, write_outcome);
handler!(evidence, write_evidence);
