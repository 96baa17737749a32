//! Waits, with a time limit, for what must arrive. Composes the error message if it does not
//! arrive.

use super::Generator;
use std::time::{Duration, Instant};

/// How long nothing may arrive before a wait fails, in ns.
const TIMEOUT: u64 = 10_000_000_000;
/// After this time without input, in ns, missing lines count as lost. It is long, so that a server
/// that stands still for a while counts as slow and not as losing lines.
const SILENCE: u64 = 5_000_000_000;

impl Generator {
    /// Waits until all lines have been read and all visitors have left.
    pub(super) fn wait_for_delivery(&mut self) -> Result<(), String> {
        self.last_progress_at = self.now();
        while !self.is_quiet() {
            let silence = self.now() - self.last_progress_at;
            if silence > SILENCE {
                self.silence += Duration::from_nanos(silence);
                break;
            }
            self.process_events(self.last_progress_at + SILENCE)?;
        }
        self.wait_until("the visitors to leave", |generator| {
            while let Some((_, index)) = generator.visitors.pop_front() {
                generator.leave(index)?;
            }
            Ok(generator.logging_in == 0 && generator.leaving == 0)
        })
    }

    /// A hint for the error message when a client cannot log in.
    pub(super) fn login_hint(&self) -> String {
        if self.count.logins > 0 {
            return "others were let in; perhaps it takes no more at a time, or the queue of its \
                listening socket is short (ss -ltn)"
                .into();
        }
        let answer = self
            .unknown_line
            .as_ref()
            .map_or(String::new(), |answer| format!("; it said: {answer}"));
        format!("does {} speak {}?{answer}", self.address, self.protocol.name())
    }

    /// Fails when the time limit has passed.
    pub(super) fn check_limit(&self) -> Result<(), String> {
        let Some((_, limit)) = self.limit.filter(|(deadline, _)| Instant::now() > *deadline) else {
            return Ok(());
        };
        let busy = self.senders.iter().filter(|sender| !sender.is_quiet()).count();
        let left = match self.logging_in + self.leaving {
            0 => format!("{busy} of {} senders had lines under way", self.senders.len()),
            1 => "one client was still logging in or leaving".into(),
            left => format!("{left} clients were still logging in or leaving"),
        };
        let doubt = if self.logging_in > 0 && self.count.logins == 0 {
            format!("; {}", self.login_hint())
        } else {
            String::new()
        };
        Err(format!("too slow: given up after {} s, when {left}{doubt}", limit.as_secs_f64()))
    }

    pub(super) fn wait_until(
        &mut self,
        what: &str,
        mut is_done: impl FnMut(&mut Generator) -> Result<bool, String>,
    ) -> Result<(), String> {
        self.last_progress_at = self.now();
        while !is_done(self)? {
            let now = self.now();
            if now - self.last_progress_at > TIMEOUT {
                let left = self.logging_in + self.leaving;
                return Err(format!(
                    "waited 10 s in vain for {what} ({left} are left); {}",
                    self.login_hint()
                ));
            }
            self.retry_logins(now)?;
            self.process_events(self.last_progress_at + TIMEOUT)?;
        }
        Ok(())
    }

    pub(super) fn process_events_until(&mut self, end: u64) -> Result<(), String> {
        loop {
            let now = self.now();
            if now >= end {
                return Ok(());
            }
            self.send_keepalives(now)?;
            self.process_events(end)?;
        }
    }
}
