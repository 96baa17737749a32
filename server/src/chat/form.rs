//! The forms in which sessions receive messages. A message is rendered once for each form.

use super::line::Form as LineForm;
use super::message::Message;
use forkchat_common::event::Stamp;

/// Decides a message's bytes, together with the message: the session's protocol and its settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// The line protocol.
    Line(LineForm),
}

/// The bytes of one message in each form that was requested. The memory is reused for later
/// messages.
#[derive(Debug, Default)]
pub struct RenderCache {
    rendered: Vec<(Form, Vec<u8>)>,
    used: usize,
    text: String,
}

impl Form {
    fn write(self, message: Message<'_>, stamp: Stamp, text: &mut String, bytes: &mut Vec<u8>) {
        match self {
            Form::Line(form) => form.write(message, stamp, text, bytes),
        }
    }

    /// The largest number of bytes that are added to the first line of a datagram.
    pub fn datagram_tag_bytes_max(self) -> usize {
        match self {
            Form::Line(form) => form.datagram_tag_bytes_max(),
        }
    }
}

impl RenderCache {
    /// Starts another message: discards the bytes of the last one.
    pub(super) fn begin(&mut self) {
        self.used = 0;
    }

    /// The message's bytes in this form. The first call for a form after [`RenderCache::begin`]
    /// renders them.
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
