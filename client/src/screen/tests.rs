//! Tests of the screen without an editor: the calls that rustyline would make.

use super::layout::{rows_of, without_styles};
use super::*;
use std::sync::{Arc, Mutex};

/// Counts how often the screen wakes the editor.
struct WakeCounter(Arc<Mutex<usize>>);

impl ExternalPrinter for WakeCounter {
    fn print(&mut self, message: String) -> rustyline::Result<()> {
        assert_eq!(message, "");
        *self.0.lock().unwrap() += 1;
        Ok(())
    }
}

fn screen() -> (Screen, Arc<Mutex<usize>>) {
    let wakes = Arc::new(Mutex::new(0));
    let screen = Screen::new(Box::new(WakeCounter(wakes.clone())), false, || (80, 24));
    screen.set_prompt("#lobby", false, false);
    (screen, wakes)
}

#[test]
fn rows_are_drawn_with_the_first_prompt_and_then_at_each_wake() {
    let (screen, wakes) = screen();
    screen.show("one\r\n");
    assert_eq!((screen.begin_line(), *wakes.lock().unwrap()), ("#lobby> ".to_owned(), 0));
    screen.must_redraw("", 0);
    assert_eq!(screen.draw_prompt("", true), "one\r\n#lobby> ");
    screen.show("two\r\n");
    screen.show("three\r\n");
    assert_eq!(*wakes.lock().unwrap(), 1, "one wake is pending");
    assert_eq!(screen.draw_prompt("", true), "\x1b[Atwo\r\nthree\r\n#lobby> ");
}

#[test]
fn a_redraw_before_the_wake_takes_the_rows_and_the_wake_draws_only_the_prompt() {
    let (screen, _) = screen();
    screen.begin_line();
    screen.must_redraw("", 0);
    screen.draw_prompt("", true);
    screen.show("one\r\n");
    screen.must_redraw("", 0);
    assert_eq!(screen.draw_prompt("", true), "one\r\n#lobby> ", "a key was pressed");
    assert_eq!(screen.draw_prompt("", true), "\x1b[A#lobby> ", "the wake");
}

#[test]
fn a_character_at_the_end_of_the_line_is_written_alone_if_it_fits_the_row() {
    let (screen, _) = screen();
    screen.begin_line();
    let types = |line: &str, pos: usize| {
        screen.key_pressed(true);
        screen.must_redraw(line, pos)
    };
    assert!(screen.must_redraw("", 0), "the first drawing");
    screen.draw_prompt("", true);
    assert!(
        !types("a", 1) && screen.lock().is_own_redraw,
        "the editor redraws all the same, because it had to before"
    );
    screen.draw_prompt("", true);
    assert!(!types("a你", 4) && !screen.lock().is_own_redraw);
    screen.show("one\r\n");
    assert_eq!(
        screen.draw_prompt("", true),
        "\x1b[Aone\r\n#lobby> ",
        "so this redraw is for the wake"
    );
    assert!(types("xa你", 1), "not at the end");
    screen.draw_prompt("", true);
    screen.key_pressed(false);
    assert!(screen.must_redraw("xa你b", 6), "the key was no character");
    screen.draw_prompt("", true);
    assert!(types("xa你be\u{301}", 9), "two at once");
    screen.draw_prompt("", true);
    assert!(types("xa你be\u{301}\u{323}", 11), "a combining character");
    screen.draw_prompt("", true);
    let mut line = "x".repeat(70);
    screen.must_redraw(&line, 70);
    screen.draw_prompt("", true);
    line.push('y');
    assert!(!types(&line, 71), "column 79 of 80");
    line.push('z');
    assert!(types(&line, 72), "the row is full");
    screen.draw_prompt("", true);
    line.push('z');
    assert!(!types(&line, 73), "the next row");
}

#[test]
fn between_two_lines_and_during_a_search_the_editor_is_not_woken() {
    let (screen, wakes) = screen();
    screen.begin_line();
    screen.must_redraw("", 0);
    screen.draw_prompt("", true);
    screen.must_redraw("", 0);
    assert_eq!(screen.draw_prompt("(search)", false), "(search)");
    screen.show("one\r\n");
    screen.must_redraw("", 0);
    assert_eq!(screen.draw_prompt("", true), "one\r\n#lobby> ");
    screen.end_line();
    screen.show("two\r\n");
    assert_eq!(*wakes.lock().unwrap(), 0);
    assert_eq!(screen.close(), "two\r\n");
}

#[test]
fn a_prompt_keeps_its_width_while_a_line_is_edited() {
    let (screen, _) = screen();
    screen.begin_line();
    for (label, drawn) in
        [("#general", "#gene…> "), ("#a", "#a    > "), ("#你好吗", "#你好…> ".trim_end())]
    {
        screen.set_prompt(label, false, false);
        screen.must_redraw("", 0);
        let prompt = screen.draw_prompt("", true).into_owned();
        let prompt = prompt.trim_start_matches("\x1b[A");
        assert!(prompt.starts_with(drawn.trim_end()) && prompt.width() == 8, "{prompt:?}");
    }
}

#[test]
fn rows_are_counted_as_the_editor_draws_them() {
    let rows = |text: &str| rows_of(text, 10, GraphemeClusterMode::WcWidth);
    assert_eq!(
        (rows(""), rows("123456789"), rows("1234567890"), rows("12345678901")),
        (1, 1, 2, 2)
    );
    assert_eq!((rows("一二三四"), rows("1一二三四"), rows("1一二三四五")), (1, 1, 2));
    assert_eq!((rows("a\nb"), rows("a\tb"), rows("a\t\tb")), (2, 1, 2));
    assert_eq!(
        without_styles("\x07\x1b[2m12:00\x1b[0m   \x1b[38;5;28mbob\x1b[0m: mm\r\n"),
        "12:00   bob: mm\n"
    );
}

#[test]
fn after_a_resize_with_a_wrapped_line_the_last_rows_are_drawn_again() {
    let (screen, _) = screen();
    screen.begin_line();
    screen.show("one\r\ntwo\r\n");
    screen.must_redraw(&"x".repeat(100), 100);
    screen.draw_prompt("", true);
    screen.lock().size = || (120, 24);
    screen.must_redraw(&"x".repeat(100), 100);
    assert_eq!(screen.draw_prompt("", true), "\x1b[H\x1b[2Jone\r\ntwo\r\n#lobby> ");
    screen.lock().size = || (60, 3);
    screen.must_redraw(&"x".repeat(100), 100);
    assert_eq!(screen.draw_prompt("", true), "\x1b[H\x1b[2Jtwo\r\n#lobby> ", "as many rows as fit");
    screen.lock().size = || (70, 24);
    screen.must_redraw("short", 5);
    assert_eq!(
        screen.draw_prompt("", true),
        "#lobby> ",
        "the line takes one row, so the editor has cleared the right one"
    );
}

#[test]
fn a_terminal_that_accepts_no_output_does_not_fill_the_memory() {
    let (screen, _) = screen();
    let row = format!("{}\r\n", "x".repeat(998));
    for _ in 0..20_000 {
        screen.show(&row);
    }
    let rows = screen.close();
    let rows_left = rows.matches('\n').count() - 1;
    assert!(rows.len() <= ROWS_BYTES_MAX + 1_000 && rows_left > 1_000);
    assert!(rows.starts_with(&format!(
        "      - the terminal was too slow: {} rows were not shown\r\n",
        20_000 - rows_left
    )));
}
