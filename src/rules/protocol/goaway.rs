#![forbid(unsafe_code)]
//! The GOAWAY frame of HTTP/2, by which a backend says which requests it will not carry out (RFC 9113, section 6.8).
//!
//! It is looked for in what comes on a connection before the header of the response. The bytes are those of the stream
//! in any pieces; what is no HTTP/2 is not read on.

/// The length of a frame's header, and of what is wanted of GOAWAY's payload.
const HEADER: usize = 9;
const LAST_STREAM: usize = 4;

/// The largest frame that nginx lets a backend send; a text such as "HTTP/1.1" says that it is larger.
const MAX_FRAME: u32 = 16_384;

const HEADERS_FRAME: u8 = 1;
const GOAWAY_FRAME: u8 = 7;

/// What is read of the frames on a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Frames {
    /// The header of a frame, as much of it as has come, and the beginning of a GOAWAY's payload.
    head: [u8; HEADER + LAST_STREAM],
    len: u8,
    /// How many bytes of a frame are passed over.
    skip: u32,
    last_stream: Option<u32>,
}

impl Frames {
    /// Takes in what has come; false when there is nothing more to look for.
    pub fn read(&mut self, bytes: &[u8]) -> bool {
        let mut rest = bytes;

        while !rest.is_empty() {
            if self.skip > 0 {
                rest = self.pass_over(rest);
                continue;
            }

            let Some((byte, after)) = rest.split_first() else {
                break;
            };

            rest = after;

            if !self.push(*byte) {
                return false;
            }
        }

        true
    }

    /// The number of the last request that the backend carries out, if it has said so.
    pub fn last_stream(&self) -> Option<u32> {
        self.last_stream
    }

    fn pass_over<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let n = bytes.len().min(usize::try_from(self.skip).unwrap_or(usize::MAX));

        // no more than there is to skip
        self.skip = self.skip.saturating_sub(u32::try_from(n).unwrap_or(u32::MAX));

        bytes.get(n..).unwrap_or_default()
    }

    /// Takes in a byte of a frame's head; false when the frames are of no more interest.
    fn push(&mut self, byte: u8) -> bool {
        if let Some(place) = self.head.get_mut(usize::from(self.len)) {
            *place = byte;
        }

        self.len = self.len.saturating_add(1);

        let [l1, l2, l3, kind, _flags, _, _, _, _, s1, s2, s3, s4] = self.head;
        let length = u32::from_be_bytes([0, l1, l2, l3]);
        let len = usize::from(self.len);

        if len == HEADER {
            let is_goaway = kind == GOAWAY_FRAME && length >= LAST_STREAM as u32;

            if length > MAX_FRAME || kind == HEADERS_FRAME {
                return false;
            }

            if !is_goaway {
                self.end_head(length);
            }
        } else if len == HEADER.saturating_add(LAST_STREAM) {
            // the first bit is reserved
            self.last_stream = Some(u32::from_be_bytes([s1, s2, s3, s4]) & (u32::MAX >> 1));
            self.end_head(length.saturating_sub(LAST_STREAM as u32));
        }

        true
    }

    fn end_head(&mut self, skip: u32) {
        self.len = 0;
        self.skip = skip;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let mut frame = length[1..].to_vec();

        frame.extend([kind, 0, 0, 0, 0, 0]);
        frame.extend(payload);
        frame
    }

    fn goaway(last_stream: u32, debug: &[u8]) -> Vec<u8> {
        frame(GOAWAY_FRAME, &[&last_stream.to_be_bytes(), &[0; 4], debug].concat())
    }

    fn read(bytes: &[u8]) -> (bool, Option<u32>) {
        let mut frames = Frames::default();
        let goes_on = frames.read(bytes);

        (goes_on, frames.last_stream())
    }

    #[test]
    fn frames() {
        let settings = frame(4, &[0; 36]);
        let ping = frame(6, &[0x55; 8]);
        let empty = frame(4, &[]);
        let headers = frame(HEADERS_FRAME, &[0x88]);
        let largest = frame(0, &[0; 16_384]);
        let larger = frame(0, &[0; 16_385]);

        let cases = [
            ("nothing", Vec::new(), (true, None)),
            ("GOAWAY", goaway(1, b""), (true, Some(1))),
            ("stream 0", goaway(0, b""), (true, Some(0))),
            ("the reserved bit", goaway(u32::MAX, b""), (true, Some(u32::MAX >> 1))),
            ("debug data", goaway(3, &[7; 100]), (true, Some(3))),
            (
                "after other frames",
                [settings.clone(), empty, ping, goaway(5, b"x")].concat(),
                (true, Some(5)),
            ),
            ("after the largest frame", [largest, goaway(5, b"")].concat(), (true, Some(5))),
            ("after a larger one", [larger, goaway(5, b"")].concat(), (false, None)),
            (
                "the last one counts",
                [goaway(u32::MAX, b""), goaway(7, b"")].concat(),
                (true, Some(7)),
            ),
            ("before a response", [goaway(9, b""), headers.clone()].concat(), (false, Some(9))),
            ("a response", [headers, goaway(1, b"")].concat(), (false, None)),
            ("too short to say", [frame(GOAWAY_FRAME, &[0; 3]), settings].concat(), (true, None)),
            ("HTTP/1", b"HTTP/1.1 200 OK\r\n".to_vec(), (false, None)),
        ];

        for (name, bytes, expected) in cases {
            assert_eq!(read(&bytes), expected, "{name}");

            // a byte at a time
            let mut frames = Frames::default();
            let goes_on = bytes.iter().all(|byte| frames.read(&[*byte]));

            assert_eq!((goes_on, frames.last_stream()), expected, "{name}, in pieces");
        }
    }
}
