use std::fs;
use std::os::unix::fs::symlink;

use lvs_plan::{Change, Spec};
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use super::*;

/// Generous: what is tested is that it comes, not how fast a busy machine is.
const LIMIT: Duration = Duration::from_secs(30);
/// Longer than the watch takes for what it would do wrongly: two polls.
const QUIET: Duration = Duration::from_millis(2500);

fn vs(name: &str, port: u16) -> String {
    format!(
        "apiVersion: lvs-operator.dev/v1alpha1\nkind: VirtualService\nmetadata: {{name: {name}}}\n\
         spec: {{vip: 172.16.21.10, ports: [{{port: {port}}}]}}\n---\n"
    )
}

/// A directory that is watched, and what is delivered of it.
struct Watched {
    dir: TempDir,
    updates: mpsc::Receiver<Update>,
}

impl Watched {
    /// Watches `objects` in a new directory in which `prepare` has put what is there at the start.
    fn start(prepare: impl FnOnce(&Path)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        prepare(dir.path());
        let (sink, updates) = mpsc::channel(16);
        let objects = dir.path().join("objects");
        thread::spawn(move || run(objects, sink));
        Self { dir, updates }
    }

    /// Watches a directory with these files.
    fn over(files: &[(&str, &str)]) -> Self {
        Self::start(|dir| {
            fs::create_dir(dir.join("objects")).unwrap();
            for (name, text) in files {
                fs::write(dir.join("objects").join(name), text).unwrap();
            }
        })
    }

    fn objects(&self) -> PathBuf {
        self.dir.path().join("objects")
    }

    async fn next(&mut self) -> Update {
        timeout(LIMIT, self.updates.recv()).await.expect("something is delivered").expect("the watch goes on")
    }

    /// The next delivery that changes objects, in words.
    async fn next_change(&mut self) -> Vec<String> {
        loop {
            let update = self.next().await;
            if !update.changes.is_empty() {
                return said(&update);
            }
        }
    }

    async fn nothing_more(&mut self) {
        let more = timeout(QUIET, self.updates.recv()).await;
        assert!(more.is_err(), "{more:?}");
    }
}

fn said(update: &Update) -> Vec<String> {
    update
        .changes
        .iter()
        .map(|change| match change {
            Change::Upsert(object) => match &object.spec {
                Spec::VirtualService(spec) => format!("{} = {}", object.key.name, spec.ports[0].port),
                Spec::RealServer(_) | Spec::Director(_) | Spec::Malformed(_) => object.key.name.to_string(),
            },
            Change::Removed(key) => format!("{} is gone", key.name),
        })
        .collect()
}

#[tokio::test]
async fn what_is_there_is_delivered_once_and_then_only_what_changes() {
    let mut watched =
        Watched::over(&[("a.yaml", &vs("a", 80)), ("notes.txt", "not a manifest"), (".a.yaml.swp", "x")]);
    let first = watched.next().await;
    assert_eq!(said(&first), ["a = 80"]);
    assert!(first.state.complete && first.state.up_to_date && first.state.findings.is_empty());
    watched.nothing_more().await;

    fs::write(watched.objects().join("b.yaml"), vs("b", 81)).unwrap();
    assert_eq!(watched.next_change().await, ["b = 81"]);
    fs::write(watched.objects().join("a.yaml"), vs("a", 90)).unwrap();
    assert_eq!(watched.next_change().await, ["a = 90"]);
    fs::remove_file(watched.objects().join("b.yaml")).unwrap();
    assert_eq!(watched.next_change().await, ["b is gone"]);
    watched.nothing_more().await;
}

#[tokio::test]
async fn an_edit_that_keeps_size_and_comes_in_the_same_moment_is_seen() {
    let mut watched = Watched::over(&[("a.yaml", &vs("a", 80))]);
    watched.next().await;
    for port in 81..89 {
        fs::write(watched.objects().join("a.yaml"), vs("a", port)).unwrap();
        assert_eq!(watched.next_change().await, [format!("a = {port}")]);
    }
}

#[tokio::test]
async fn a_file_that_is_emptied_and_written_anew_is_never_seen_empty() {
    let mut watched = Watched::over(&[("a.yaml", &vs("a", 80))]);
    watched.next().await;
    let path = watched.objects().join("a.yaml");
    fs::write(&path, "").unwrap();
    sleep(Duration::from_millis(20)).await;
    fs::write(&path, vs("a", 81)).unwrap();
    assert_eq!(watched.next_change().await, ["a = 81"]);
}

#[tokio::test]
async fn a_file_that_is_moved_into_place_is_seen() {
    let mut watched = Watched::over(&[("a.yaml", &vs("a", 80))]);
    watched.next().await;
    let new = watched.dir.path().join("new");
    fs::write(&new, vs("a", 81)).unwrap();
    fs::rename(new, watched.objects().join("a.yaml")).unwrap();
    assert_eq!(watched.next_change().await, ["a = 81"]);
}

#[tokio::test]
async fn a_mounted_config_map_is_followed_through_its_links() {
    // As the kubelet does it: files are links to `..data/…`, and `..data` is a link that is replaced.
    let mut watched = Watched::start(|dir| {
        let objects = dir.join("objects");
        fs::create_dir_all(objects.join("..1")).unwrap();
        fs::write(objects.join("..1/a.yaml"), vs("a", 80)).unwrap();
        symlink("..1", objects.join("..data")).unwrap();
        symlink("..data/a.yaml", objects.join("a.yaml")).unwrap();
    });
    assert_eq!(watched.next_change().await, ["a = 80"]);
    let objects = watched.objects();
    fs::create_dir(objects.join("..2")).unwrap();
    fs::write(objects.join("..2/a.yaml"), vs("a", 81)).unwrap();
    symlink("..2", objects.join("..data_tmp")).unwrap();
    fs::rename(objects.join("..data_tmp"), objects.join("..data")).unwrap();
    assert_eq!(watched.next_change().await, ["a = 81"]);
}

#[tokio::test]
async fn a_bad_edit_is_delivered_as_a_finding_and_nothing_else() {
    let mut watched = Watched::over(&[("a.yaml", &vs("a", 80))]);
    watched.next().await;
    fs::write(watched.objects().join("a.yaml"), "spec: [").unwrap();
    let update = watched.next().await;
    assert!(update.changes.is_empty() && update.state.up_to_date);
    assert_eq!(update.state.findings[0].file, "a.yaml");
    watched.nothing_more().await;
    fs::write(watched.objects().join("a.yaml"), vs("a", 80)).unwrap();
    let update = watched.next().await;
    assert!(update.changes.is_empty() && update.state.findings.is_empty(), "the same again: {update:?}");
}

#[tokio::test]
async fn a_directory_that_is_not_there_yet_is_waited_for() {
    let mut watched = Watched::start(|_| ());
    let update = watched.next().await;
    assert!(!update.state.complete && !update.state.up_to_date);
    assert!(update.state.message.contains("create it"), "{}", update.state.message);
    watched.nothing_more().await;
    fs::create_dir(watched.objects()).unwrap();
    let update = watched.next().await;
    assert!(update.state.complete && update.state.up_to_date);
    fs::write(watched.objects().join("a.yaml"), vs("a", 80)).unwrap();
    assert_eq!(watched.next_change().await, ["a = 80"]);
}

#[tokio::test]
async fn a_directory_that_goes_away_takes_nothing_with_it_and_is_watched_again_when_it_is_back() {
    let mut watched = Watched::over(&[("a.yaml", &vs("a", 80))]);
    watched.next().await;
    let away = watched.dir.path().join("away");
    fs::rename(watched.objects(), &away).unwrap();
    let update = watched.next().await;
    assert!(update.changes.is_empty() && update.state.complete && !update.state.up_to_date);
    fs::write(away.join("a.yaml"), vs("a", 81)).unwrap();
    watched.nothing_more().await;
    fs::rename(&away, watched.objects()).unwrap();
    assert_eq!(watched.next_change().await, ["a = 81"]);
    fs::write(watched.objects().join("a.yaml"), vs("a", 82)).unwrap();
    assert_eq!(watched.next_change().await, ["a = 82"]);
}

#[tokio::test]
async fn the_watch_ends_when_nobody_listens() {
    let dir = tempfile::tempdir().unwrap();
    let (sink, updates) = mpsc::channel(16);
    let objects = dir.path().to_owned();
    let task = tokio::task::spawn_blocking(move || run(objects, sink));
    drop(updates);
    timeout(LIMIT, task).await.expect("it ends").unwrap();
}

#[test]
fn one_look_is_whole_or_says_why_not() {
    let dir = tempfile::tempdir().unwrap();
    // Written this moment, which a watch would wait out.
    fs::write(dir.path().join("a.yaml"), vs("a", 80)).unwrap();
    let update = read_once(dir.path());
    assert_eq!((said(&update), update.state.complete), (vec!["a = 80".to_owned()], true));
    let update = read_once(&dir.path().join("a.yaml"));
    assert!(!update.state.complete && update.state.message.contains("takes a directory, not a file"));
}

#[tokio::test]
async fn what_inotify_does_not_see_is_seen_all_the_same() {
    // As git-sync does it: the folder is a link that is replaced.
    let dir = tempfile::tempdir().unwrap();
    for (folder, port) in [("1", 80), ("2", 81)] {
        fs::create_dir(dir.path().join(folder)).unwrap();
        fs::write(dir.path().join(folder).join("a.yaml"), vs("a", port)).unwrap();
    }
    let objects = dir.path().join("objects");
    symlink("1", &objects).unwrap();
    let (sink, updates) = mpsc::channel(16);
    let watched = objects.clone();
    thread::spawn(move || run(watched, sink));
    let mut replaced = Watched { dir, updates };
    // And a manifest that is a link to a file elsewhere.
    let mut linked = Watched::start(|dir| {
        fs::create_dir(dir.join("objects")).unwrap();
        fs::write(dir.join("elsewhere"), vs("b", 80)).unwrap();
        symlink("../elsewhere", dir.join("objects/b.yaml")).unwrap();
    });
    assert_eq!(replaced.next_change().await, ["a = 80"]);
    assert_eq!(linked.next_change().await, ["b = 80"]);
    symlink("2", replaced.dir.path().join("new")).unwrap();
    fs::rename(replaced.dir.path().join("new"), &objects).unwrap();
    fs::write(linked.dir.path().join("elsewhere"), vs("b", 81)).unwrap();
    assert_eq!(replaced.next_change().await, ["a = 81"]);
    assert_eq!(linked.next_change().await, ["b = 81"]);
}

#[test]
fn many_files_are_looked_at_more_rarely_unless_some_are_links() {
    for (files, has_links, polls) in [(0, false, 1), (255, false, 1), (512, false, 3), (512, true, 1)] {
        assert_eq!(polls_until_look(files, has_links), polls, "{files} files, links: {has_links}");
    }
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("a.yaml"), vs("a", 80)).unwrap();
    let mut directory = Directory::new(dir.path().to_owned());
    directory.list(SystemTime::now()).unwrap();
    assert!(!directory.has_links());
    symlink("a.yaml", dir.path().join("b.yaml")).unwrap();
    directory.list(SystemTime::now()).unwrap();
    assert!(directory.has_links());
}

#[test]
fn a_folder_made_anew_under_the_old_name_and_number_is_watched_anew() {
    let dir = tempfile::tempdir().unwrap();
    let objects = dir.path().join("objects");
    fs::create_dir(&objects).unwrap();
    let (waker, wakes) = sync_channel(1);
    let mut inotify = Inotify::new(waker);
    inotify.watch(&objects);
    assert!(inotify.is_on(&objects));
    fs::remove_dir(&objects).unwrap();
    fs::create_dir(&objects).unwrap();
    wakes.recv_timeout(LIMIT).expect("that is heard of");
    assert!(!inotify.is_on(&objects), "on some file systems the number of the inode is the same");
    inotify.watch(&objects);
    while wakes.try_recv().is_ok() {}
    fs::write(objects.join("a.yaml"), "").unwrap();
    wakes.recv_timeout(LIMIT).expect("the new one is heard of");
}
