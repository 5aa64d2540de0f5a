//! The file of `export -o`: whole or not there, and its owner's alone.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use crate::export::{beside, csv, said, synced};
use crate::stage::{Stage, until};

fn mode_of(file: &Path) -> u32 {
    std::fs::metadata(file).unwrap().permissions().mode() & 0o777
}

/// A user that every Linux has.
const NOBODY: u32 = 65534;

#[tokio::test]
async fn a_file_is_never_half_an_export() {
    let stage = synced().await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("contacts.csv");
    let export = ["export", "contacts", "--format", "csv", "-o", file.to_str().unwrap()];
    let ended = stage.run(&export).await;
    let contacts = stage.simulator.count("contacts");
    assert_eq!(said(&ended), format!("wrote {contacts} rows to {}\n", file.display()));
    let whole = std::fs::read_to_string(&file).unwrap();
    let (_, rows) = csv(&whole, ',');
    assert_eq!((rows.len(), beside(&directory, &file)), (contacts, vec![]));

    // All rows but the last go on their way.
    let last = rows.last().unwrap()["id"].clone().unwrap();
    let condition = format!("1 / (case when id = '{last}' then 0 else 1 end) = 1");
    let ended = stage.run(&[&export[..], &["--where", &condition]].concat()).await;
    assert!(ended.code == 2 && ended.err.contains("division by zero") && ended.out.is_empty(), "{ended:?}");
    assert_eq!((std::fs::read_to_string(&file).unwrap(), beside(&directory, &file)), (whole.clone(), vec![]));

    // Somebody stops it, once its file is there.
    let mut holder = stage.database.pool.acquire().await.unwrap();
    sqlx::query("select pg_advisory_lock(1)").execute(&mut *holder).await.unwrap();
    let held = format!("case when id = '{last}' then pg_advisory_xact_lock(1) is not null else true end");
    for signal in ["TERM", "INT"] {
        let mut stopped = stage.watch(&[&export[..], &["--where", &held]].concat());
        until("it writes beside the file", async || (beside(&directory, &file).len() == 1).then_some(())).await;
        assert_eq!(mode_of(&beside(&directory, &file)[0]), 0o600, "also while it is written");
        assert_eq!(stopped.end(signal).await.code(), Some(1));
        assert!(stopped.log().contains("stopped before the end"), "{}", stopped.log());
        assert_eq!((std::fs::read_to_string(&file).unwrap(), beside(&directory, &file)), (whole.clone(), vec![]));
    }
    // The server does not go on without them.
    let waiting = "select count(*) from pg_locks l join pg_database d on d.oid = l.database
         where d.datname = current_database() and locktype = 'advisory' and not granted";
    until("nobody waits", async || (stage.database.value::<i64>(waiting).await == 0).then_some(())).await;
    drop(holder.detach());

    // What is known of people is its owner's alone, unless the owner has said otherwise. A link stays one.
    assert_eq!(mode_of(&file), 0o600);
    let link = directory.path().join("link.csv");
    std::os::unix::fs::symlink("contacts.csv", &link).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o640)).unwrap();
    let ended = stage.run(&["export", "contact_emails", "--format", "jsonl", "-o", link.to_str().unwrap()]).await;
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(link.is_symlink() && std::fs::read_to_string(&file).unwrap().starts_with("{\"account\":"));
    assert_eq!(mode_of(&file), 0o640);
    assert_eq!(beside(&directory, &file), [link]);
    // What is no file is no place for another.
    let ended = stage.run(&["export", "contacts", "--format", "csv", "-o", "/dev/stdout"]).await;
    assert_eq!((ended.code, ended.out.len()), (0, whole.len()), "{ended:?}");
    let ended = stage.run(&["export", "contacts", "--format", "csv", "-o", directory.path().to_str().unwrap()]).await;
    assert!(ended.code == 1 && ended.err.contains("Is a directory"), "{ended:?}");
}

#[tokio::test]
async fn another_users_file_lends_no_rights_and_his_link_leads_nowhere() {
    // Only root can make files of another user.
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let stage = Stage::small().await;
    let directory = tempfile::tempdir().unwrap();
    let (file, link) = (directory.path().join("theirs.csv"), directory.path().join("link.csv"));
    let mine = directory.path().join("mine.txt");
    for path in [&file, &mine] {
        std::fs::write(path, "before").unwrap();
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o666)).unwrap();
    }
    std::os::unix::fs::symlink("mine.txt", &link).unwrap();
    std::os::unix::fs::chown(&file, Some(NOBODY), None).unwrap();
    std::os::unix::fs::lchown(&link, Some(NOBODY), None).unwrap();
    let ended = stage.run(&["export", "contacts", "--format", "csv", "-o", file.to_str().unwrap()]).await;
    said(&ended);
    assert_eq!((mode_of(&file), std::fs::metadata(&file).unwrap().uid()), (0o600, 0), "the file of this user");
    let ended = stage.run(&["export", "contacts", "--format", "csv", "-o", link.to_str().unwrap()]).await;
    assert!(ended.code == 1 && ended.err.contains("it is a symbolic link of another user"), "{ended:?}");
    assert_eq!(std::fs::read_to_string(&mine).unwrap(), "before");
}
