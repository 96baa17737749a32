//! Which files the store rejects and leaves unchanged.

use super::*;

#[test]
fn a_full_disk_is_reported_and_storing_goes_on_once_there_is_space() {
    let home = Home::new();
    let mut opened = home.open(1_000_000);
    store(&mut opened, RUN, &lines("#a", [1_000_001]));
    let pages = number(&opened, "PRAGMA page_count");
    opened.connection.execute_batch(&format!("PRAGMA max_page_count = {}", pages + 2)).unwrap();
    let batch = lines("#a", 1_000_002..1_002_000);
    let error = opened.store(RUN, &batch, Sequence(1_002_000)).unwrap_err().to_string();
    let path = home.file();
    let words = format!(
        "cannot store in the history {}: the disk is full; make room on its file system",
        path.display()
    );
    assert_eq!(error, words);
    assert_eq!(
        (opened.reached(RUN).unwrap(), last(&opened, RUN, "#a", u64::MAX, 9)),
        (Some(Sequence(1_000_001)), vec![1_000_001])
    );
    opened.connection.execute_batch("PRAGMA max_page_count = 1000000").unwrap();
    store(&mut opened, RUN, &batch);
    assert_eq!(last(&opened, RUN, "#a", u64::MAX, 1), [1_001_999]);
}

#[test]
fn other_files_are_rejected_and_left_unchanged() {
    let home = Home::new();
    for text in [&b"not a database\n"[..], &[b'x'; 10_000]] {
        fs::write(home.file(), text).unwrap();
        let refusal = home.refusal();
        assert!(refusal.contains("it is no SQLite database; move it away"), "{refusal}");
        assert_eq!(fs::read(home.file()).unwrap(), text);
    }
    fs::remove_file(home.file()).unwrap();
    home.sqlite().execute_batch("CREATE TABLE lines (id INTEGER PRIMARY KEY)").unwrap();
    let theirs = fs::read(home.file()).unwrap();
    let refusal = home.refusal();
    assert!(refusal.contains("is another program's database; move it away"), "{refusal}");
    assert_eq!(fs::read(home.file()).unwrap(), theirs);
    fs::remove_file(home.file()).unwrap();
    fs::create_dir(home.file()).unwrap();
    let refusal = home.refusal();
    assert!(
        refusal.contains("it can't be opened as a file; let the server's user write to it"),
        "{refusal}"
    );
    fs::write(home.0.join("file"), b"").unwrap();
    let below_a_file =
        Store::open(&home.0.join("file/nowhere"), at_most(1)).unwrap_err().to_string();
    assert!(
        below_a_file.contains("cannot make the history") && below_a_file.contains("--data-dir"),
        "{below_a_file}"
    );
}

#[test]
fn a_data_directory_is_created_if_need_be_and_used_by_one_server_at_a_time() {
    let home = Home::new();
    let data_dir = home.0.join("made/here");
    let first = Store::open(&data_dir, at_most(1)).unwrap();
    let refusal = Store::open(&data_dir, at_most(1)).unwrap_err().to_string();
    assert!(
        refusal.contains("another server stores in ") && refusal.contains("--data-dir"),
        "{refusal}"
    );
    assert_eq!(first.tampered(), None);
    drop(first);
    let second = Store::open(&data_dir, at_most(1)).unwrap();
    fs::remove_dir_all(&data_dir).unwrap();
    assert_eq!(second.tampered(), Some(Tampered::Taken(data_dir.join(FILE_NAME))));
}

#[test]
fn a_damaged_file_is_rejected_and_left_unchanged() {
    let home = Home::new();
    let mut opened = home.open(1_000_000);
    store(&mut opened, RUN, &lines("#a", 1_000_001..1_010_000));
    drop(opened);
    let mut damaged = fs::read(home.file()).unwrap();
    damaged[4_096..].fill(0xee);
    fs::write(home.file(), &damaged).unwrap();
    let error = match Store::open(&home.0, at_most(100)) {
        Ok(mut opened) => {
            opened.store(RUN, &lines("#a", [2_000_000]), Sequence(2_000_000)).unwrap_err()
        }
        Err(error) => error,
    };
    assert!(error.to_string().contains("it is damaged; stop the server, move the file"), "{error}");
    assert_eq!(fs::read(home.file()).unwrap(), damaged);
}
