//! A stream of frames: which bytes pass, and what passes in place of others.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use super::bounds::{FRAME_MAX, FRAME_MIN, Fault};
use super::reader::Reader;
use super::{methods, properties};
use crate::broker::server::Server;

/// The type, the channel and the size of a frame come first.
const HEAD: usize = 7;

/// The byte after a payload.
const END: u64 = 1;
const FRAME_END: u8 = 0xCE;

/// How much of a method or content header is held; the rest is read past. RabbitMQ sends content headers that are
/// larger than the frames which it has agreed to: those of a publisher who may send such frames, and what it has added
/// to them itself.
pub const HELD_MAX: usize = 2 * FRAME_MAX as usize;

/// How many bytes in a row may be held back. Then a heartbeat passes, so that lapin sees that the broker is there.
const SILENCE_MAX: usize = 4096;

const HEARTBEAT: [u8; 8] = [8, 0, 0, 0, 0, 0, 0, FRAME_END];

/// The types of frames, and the first letter of `AMQP`, with which the broker refuses a version.
const METHOD: u8 = 1;
const HEADER: u8 = 2;
const BODY: u8 = 3;
const HEARTBEAT_KIND: u8 = 8;
const PROTOCOL: u8 = b'A';

/// Passes what the broker sends, and rewrites what lapin must not see. See the parent module.
pub struct Screen {
    /// The size of a body that passes whole.
    body_bound: u64,
    /// What lapin and the broker have agreed to, by the same rule as lapin's.
    frame_max: u32,
    state: State,
    /// The frame in hand, from its head on.
    held: Vec<u8>,
    /// What passes before anything else, and how much of it has passed.
    ready: Vec<u8>,
    passed: usize,
    /// How many bytes were held back since something passed.
    silence: usize,
    /// Messages that are not as the broker sent them, by their channels.
    messages: HashMap<u16, Message>,
    /// What the broker says it is.
    server: Arc<OnceLock<Server>>,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// The head of a frame is being read.
    Head,
    /// A method or content header is being read, and `left` of it is to come.
    Held { left: u64 },
    /// `left` bytes pass as they are. Then the frame is over, and the rest that it had is dropped.
    Pass { left: u64, then_drop: u64 },
    /// `left` bytes are dropped.
    Drop { left: u64 },
    /// This is no AMQP. lapin says so.
    Foreign,
}

/// A message whose content header or body is to come.
#[derive(Clone, Copy, Debug)]
enum Message {
    /// Its method had to be rewritten.
    Unreadable,
    /// The bytes of its body that pass, and those that are dropped after them.
    Cut { pass: u64, drop: u64 },
}

impl Screen {
    /// At the beginning of a connection, for which frames of at most `frame_max` bytes are asked.
    pub fn new(body_bound: u64, frame_max: u32) -> Self {
        Self {
            body_bound,
            frame_max,
            state: State::Head,
            held: Vec::new(),
            ready: Vec::new(),
            passed: 0,
            silence: 0,
            messages: HashMap::new(),
            server: Arc::default(),
        }
    }

    /// Notes there what the broker says it is.
    pub fn noting(self, server: Arc<OnceLock<Server>>) -> Self {
        Self { server, ..self }
    }

    /// Takes bytes from `input` and passes bytes to `output`; gives how many of each. Until `output` is full, all input
    /// is taken.
    pub fn pass(&mut self, input: &[u8], output: &mut [u8]) -> (usize, usize) {
        let (mut taken, mut put) = (0, 0);
        loop {
            put += self.pass_ready(&mut output[put..]);
            let room = output.len() - put;
            if room == 0 || taken == input.len() {
                return (taken, put);
            }
            let from = &input[taken..];
            match self.state {
                State::Head => taken += self.read_head(from),
                State::Held { left } => taken += self.hold(left, from),
                State::Drop { left } => taken += self.drop(left, from),
                State::Pass { .. } | State::Foreign => {
                    let count = self.passing(from.len().min(room));
                    output[put..put + count].copy_from_slice(&from[..count]);
                    (taken, put) = (taken + count, put + count);
                }
            }
        }
    }

    /// How many bytes it holds, and has room for.
    #[cfg(test)]
    pub fn memory(&self) -> usize {
        self.held.capacity() + self.ready.capacity()
    }

    fn pass_ready(&mut self, output: &mut [u8]) -> usize {
        let count = output.len().min(self.ready.len() - self.passed);
        output[..count].copy_from_slice(&self.ready[self.passed..self.passed + count]);
        self.passed += count;
        if self.passed == self.ready.len() {
            self.ready.clear();
            self.passed = 0;
        }
        if count > 0 {
            self.silence = 0;
        }
        count
    }

    /// How many of `count` bytes pass now.
    fn passing(&mut self, count: usize) -> usize {
        self.silence = 0;
        let State::Pass { left, then_drop } = self.state else { return count };
        let count = up_to(left, count);
        let left = left - count as u64;
        self.state = match (left, then_drop) {
            (0, 0) => State::Head,
            (0, left) => {
                self.ready.push(FRAME_END);
                State::Drop { left }
            }
            _ => State::Pass { left, then_drop },
        };
        count
    }

    fn drop(&mut self, left: u64, from: &[u8]) -> usize {
        let count = up_to(left, from.len());
        let left = left - count as u64;
        self.state = if left > 0 { State::Drop { left } } else { State::Head };
        self.count_silence(count);
        count
    }

    /// Only between two frames that pass, so that a heartbeat fits in.
    fn count_silence(&mut self, count: usize) {
        self.silence += count;
        if self.silence >= SILENCE_MAX {
            self.silence = 0;
            self.ready.extend_from_slice(&HEARTBEAT);
        }
    }

    fn read_head(&mut self, from: &[u8]) -> usize {
        let count = from.len().min(HEAD - self.held.len());
        self.held.extend_from_slice(&from[..count]);
        if let Some((kind, channel, size)) = head_of(&self.held) {
            self.begin(kind, channel, size);
        }
        count
    }

    fn begin(&mut self, kind: u8, channel: u16, size: u32) {
        let size = u64::from(size);
        match kind {
            // The broker's own tables, which come before it is known how large a frame may be.
            METHOD if size > HELD_MAX as u64 => self.release(size + END, 0),
            METHOD | HEADER if size == 0 => self.end_held(kind, channel),
            METHOD | HEADER => self.state = State::Held { left: size },
            BODY => self.begin_body(channel, size),
            HEARTBEAT_KIND => self.release(size + END, 0),
            // Eight bytes in all.
            PROTOCOL => self.release(END, 0),
            _ => {
                self.release(0, 0);
                self.state = State::Foreign;
            }
        }
    }

    fn begin_body(&mut self, channel: u16, size: u64) {
        let Some(Message::Cut { pass, drop }) = self.messages.get_mut(&channel) else {
            return self.release(size + END, 0);
        };
        let passes = size.min(*pass);
        let drops = size - passes;
        *pass -= passes;
        *drop = drop.saturating_sub(drops);
        if (*pass, *drop) == (0, 0) {
            self.messages.remove(&channel);
        }
        match (passes, drops) {
            (_, 0) => self.release(size + END, 0),
            (0, _) => {
                self.held.clear();
                self.state = State::Drop { left: size + END };
            }
            _ => {
                self.resize(passes);
                self.release(passes, drops + END);
            }
        }
    }

    /// The held bytes pass, then `left` bytes more; then `then_drop` bytes are dropped.
    fn release(&mut self, left: u64, then_drop: u64) {
        self.ready.append(&mut self.held);
        self.state = State::Pass { left, then_drop };
    }

    /// Writes another size into the head that is held.
    fn resize(&mut self, size: u64) {
        // No larger than what one frame held, or may hold.
        let size = u32::try_from(size).unwrap_or(u32::MAX);
        self.held[HEAD - size_of::<u32>()..HEAD].copy_from_slice(&size.to_be_bytes());
    }

    fn hold(&mut self, left: u64, from: &[u8]) -> usize {
        let count = up_to(left, from.len());
        let room = (HEAD + HELD_MAX).saturating_sub(self.held.len());
        self.held.extend_from_slice(&from[..count.min(room)]);
        let left = left - count as u64;
        self.state = State::Held { left };
        if left > 0 {
            self.count_silence(count);
        } else if let Some((kind, channel, _)) = head_of(&self.held) {
            self.end_held(kind, channel);
        }
        count
    }

    /// The payload of a method or content header is complete; only the byte after it is to come, which passes as it is.
    fn end_held(&mut self, kind: u8, channel: u16) {
        let before = self.messages.remove(&channel);
        let payload = &self.held[HEAD..];
        let instead = if kind == METHOD {
            let rewritten = methods::rewritten(payload);
            if rewritten.is_some() && methods::announces_message(payload) {
                self.messages.insert(channel, Message::Unreadable);
            }
            if let Some(server) = methods::server(payload) {
                // It says so once.
                let _ = self.server.set(server);
            }
            if let Some(offered) = methods::tuned_frame_max(payload).filter(|offered| *offered != 0) {
                self.frame_max = self.frame_max.min(offered).max(FRAME_MIN);
            }
            rewritten
        } else {
            let fault = matches!(before, Some(Message::Unreadable)).then_some(Fault::Method);
            let frame_max = usize::try_from(self.frame_max).unwrap_or(usize::MAX);
            properties::rewritten(payload, fault, self.body_bound, frame_max).map(|header| {
                if let Some(size) = header.cut_from {
                    let cut = Message::Cut { pass: self.body_bound, drop: size - self.body_bound };
                    self.messages.insert(channel, cut);
                }
                header.payload
            })
        };
        if let Some(payload) = instead {
            self.held.truncate(HEAD);
            self.resize(payload.len() as u64);
            self.held.extend_from_slice(&payload);
        }
        self.release(END, 0);
    }
}

fn head_of(held: &[u8]) -> Option<(u8, u16, u32)> {
    let mut from = Reader(held);
    Some((from.u8()?, from.u16()?, from.u32()?))
}

fn up_to(bound: u64, count: usize) -> usize {
    usize::try_from(bound).map_or(count, |bound| bound.min(count))
}
