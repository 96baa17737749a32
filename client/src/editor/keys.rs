//! The keys that do something else than in rustyline: clear, leave, suspend, paste and Tab.

use super::paste::Paste;
use crate::screen::Screen;
use crate::terminal;
use rustyline::{
    Cmd, ConditionalEventHandler, Event, EventContext, KeyCode, KeyEvent, Modifiers, Movement,
    RepeatCount,
};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// The keys that the client handles itself.
pub enum Key {
    /// Clears the line, or drops a paste.
    Clear,
    /// Leaves, if the line is empty.
    Leave,
    /// Stops the program until the shell continues it.
    Suspend,
    /// The following keys are pasted.
    PasteBegins,
    /// The following keys are typed again.
    PasteEnds,
    /// Completes the word before the cursor. In a paste it is a tab.
    Tab,
    /// Any other key. In a paste, control characters have no effect.
    Other,
}

/// The character that a key inserts.
fn character(event: &Event) -> Option<char> {
    match event {
        Event::KeySeq(keys) => match keys[..] {
            [KeyEvent(KeyCode::Char(character), Modifiers::NONE)] => Some(character),
            _ => None,
        },
        _ => None,
    }
}

/// Whether a key ends a line.
fn ends_line(event: &Event) -> bool {
    [KeyEvent::ctrl('J'), KeyEvent(KeyCode::Enter, Modifiers::NONE)]
        .map(Event::from)
        .contains(event)
}

/// What rustyline calls when a key is pressed.
pub struct KeyHandler {
    pub key: Key,
    pub screen: Arc<Screen>,
    pub paste: Arc<Paste>,
}

impl ConditionalEventHandler for KeyHandler {
    fn handle(
        &self,
        event: &Event,
        _: RepeatCount,
        _: bool,
        context: &EventContext<'_>,
    ) -> Option<Cmd> {
        let is_pasting = self.paste.is_pasting.load(Ordering::Relaxed);
        let character = character(event).filter(|_| matches!(self.key, Key::Other));
        self.screen.key_pressed(character.is_some() && !is_pasting);
        match &self.key {
            Key::PasteBegins => self.paste.is_pasting.store(true, Ordering::Relaxed),
            Key::PasteEnds => {
                self.paste.is_pasting.store(false, Ordering::Relaxed);
                if self.paste.has_lines.load(Ordering::Relaxed) {
                    self.paste.has_ended.store(true, Ordering::Relaxed);
                    return Some(Cmd::AcceptLine);
                }
                let text = self.paste.take();
                if !text.is_empty() {
                    return Some(Cmd::Insert(1, text));
                }
            }
            Key::Tab if is_pasting => self.paste.push('\t', context.pos()),
            Key::Other if is_pasting && !ends_line(event) => {
                character
                    .into_iter()
                    .for_each(|character| self.paste.push(character, context.pos()));
            }
            Key::Other => return None,
            _ if is_pasting => {}
            Key::Clear => {
                self.drop_paste_or_hint(context.line().is_empty());
                return Some(Cmd::Kill(Movement::WholeBuffer));
            }
            Key::Leave => {
                if context.line().is_empty() {
                    self.screen.end_line();
                }
                return None;
            }
            Key::Suspend => {
                terminal::suspend();
                return Some(Cmd::Repaint);
            }
            Key::Tab => return None,
        }
        Some(Cmd::Noop)
    }
}

impl KeyHandler {
    /// Drops a paste that waits for confirmation. If the line was empty anyway, shows once which
    /// key leaves.
    fn drop_paste_or_hint(&self, is_empty: bool) {
        if self.paste.is_confirmation_pending.swap(false, Ordering::Relaxed) {
            self.paste.is_dropped.store(true, Ordering::Relaxed);
            self.paste.has_lines.store(false, Ordering::Relaxed);
            self.screen.show("      - the pasted lines were dropped\r\n");
        } else if is_empty && !self.paste.is_hint_shown.swap(true, Ordering::Relaxed) {
            self.screen.show("      - Ctrl-C clears the line; Ctrl-D or /quit leaves\r\n");
        }
    }
}
