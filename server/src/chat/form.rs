//! In which form a session receives messages. A message is rendered once for each form.

use super::line::Form as LineForm;
use super::message::Message;
use forkchat_common::event::Stamp;

/// What decides a message's bytes besides the message: the session's protocol, and what its client
/// has chosen there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// The line protocol.
    Line(LineForm),
}

/// One message's bytes in each form that was asked for, and memory that is used again and again.
#[derive(Debug, Default)]
pub struct RenderCache {
    rendered: Vec<(Form, Vec<u8>)>,
    used: usize,
    text: String,
}

impl Form {
    fn write(self, message: Message<'_>, stamp: Stamp, text: &mut String, bytes: &mut Vec<u8>) {
        match (message, self) {
            (Message::Raw(raw), _) => bytes.extend_from_slice(raw),
            (_, Form::Line(form)) => form.write(message, stamp, text, bytes),
        }
    }

    /// The most bytes that the first line of a datagram gets in addition.
    pub fn datagram_tag_bytes_max(self) -> usize {
        match self {
            Form::Line(form) => form.datagram_tag_bytes_max(),
        }
    }
}

impl RenderCache {
    /// The next message's bytes are not yet known in any form.
    pub(super) fn begin(&mut self) {
        self.used = 0;
    }

    /// The message's bytes in this form, rendered at the first call for it since
    /// [`RenderCache::begin`].
    pub(super) fn bytes(&mut self, form: Form, message: Message<'_>, stamp: Stamp) -> &[u8] {
        let known = self.rendered[..self.used].iter().position(|(other, _)| *other == form);
        let index = known.unwrap_or_else(|| {
            if self.used == self.rendered.len() {
                self.rendered.push((form, Vec::new()));
            }
            let (rendered_form, bytes) = &mut self.rendered[self.used];
            *rendered_form = form;
            bytes.clear();
            self.text.clear();
            form.write(message, stamp, &mut self.text, bytes);
            self.used += 1;
            self.used - 1
        });
        &self.rendered[index].1
    }
}
