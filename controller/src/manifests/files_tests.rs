use lvs_plan::{Kind, Spec};

use super::*;

fn vs(name: &str, port: u16) -> String {
    format!(
        "apiVersion: lvs-operator.dev/v1alpha1\nkind: VirtualService\nmetadata: {{name: {name}}}\n\
         spec: {{vip: 172.16.21.10, ports: [{{port: {port}}}]}}\n---\n"
    )
}

fn key(name: &str) -> ObjectKey {
    ObjectKey::new(Kind::VirtualService, "default", name)
}

fn look(files: &mut Files, scan: &[(&str, &str)]) -> Update {
    files.apply(scan.iter().map(|(name, text)| FileContent {
        name: (*name).into(),
        content: Content::Bytes(text.as_bytes().to_vec()),
    }))
}

fn said(update: &Update) -> Vec<String> {
    update
        .changes
        .iter()
        .map(|change| match change {
            Change::Upsert(object) => {
                let Spec::VirtualService(spec) = &object.spec else { panic!("only virtual services here") };
                let file = object.file.as_deref().unwrap_or("no file");
                format!(
                    "{} = {} from {file}, generation {}",
                    object.key, spec.ports[0].port, object.generation
                )
            }
            Change::Removed(key) => format!("{key} is gone"),
        })
        .collect()
}

#[test]
fn the_first_look_delivers_everything_with_generation_one() {
    let mut files = Files::default();
    let update = look(&mut files, &[("b.yaml", &vs("b", 81)), ("a.yaml", &vs("a", 80))]);
    assert_eq!(
        said(&update),
        ["default/a = 80 from a.yaml, generation 1", "default/b = 81 from b.yaml, generation 1"]
    );
    assert!(update.state.complete && update.state.up_to_date);
    assert_eq!((update.state.findings, update.state.message), (vec![], String::new()));
}

#[test]
fn an_empty_directory_is_a_complete_list_of_nothing() {
    let update = look(&mut Files::default(), &[]);
    assert!(update.changes.is_empty() && update.state.complete && update.state.up_to_date);
}

#[test]
fn the_generation_grows_with_the_spec_and_not_with_labels_or_looks() {
    let mut files = Files::default();
    look(&mut files, &[("a.yaml", &vs("a", 80))]);
    assert_eq!(said(&look(&mut files, &[("a.yaml", &vs("a", 80))])), Vec::<String>::new());
    let update = look(&mut files, &[("a.yaml", &vs("a", 81))]);
    assert_eq!(said(&update), ["default/a = 81 from a.yaml, generation 2"]);
    let labelled = vs("a", 81).replace("name: a", "name: a, labels: {x: y}");
    let update = look(&mut files, &[("a.yaml", &labelled)]);
    assert_eq!(said(&update), ["default/a = 81 from a.yaml, generation 2"]);
    let Change::Upsert(object) = &update.changes[0] else { panic!("an upsert") };
    assert_eq!(object.labels["x"], "y");
}

#[test]
fn what_is_delivered_is_kept_once() {
    let mut files = Files::default();
    let first = look(&mut files, &[("a.yaml", &format!("{}{}", vs("a", 80), vs("b", 80)))]);
    let second = look(&mut files, &[("a.yaml", &format!("{}{}", vs("a", 80), vs("b", 81)))]);
    for (update, name) in [(&first, "a"), (&second, "b")] {
        let Change::Upsert(object) = &update.changes[0] else { panic!("an upsert") };
        assert_eq!(&*object.key.name, name);
        assert!(Arc::ptr_eq(object, &files.in_force[&key(name)]));
        let file = files.files.get_mut("a.yaml").unwrap();
        assert!(Arc::ptr_eq(object, file.declared(&key(name)).unwrap()));
    }
}

#[test]
fn an_object_made_anew_starts_at_generation_one() {
    let mut files = Files::default();
    look(&mut files, &[("a.yaml", &vs("a", 80))]);
    look(&mut files, &[("a.yaml", &vs("a", 81))]);
    assert_eq!(said(&look(&mut files, &[("a.yaml", "")])), ["default/a is gone"]);
    assert_eq!(
        said(&look(&mut files, &[("a.yaml", &vs("a", 81))])),
        ["default/a = 81 from a.yaml, generation 1"]
    );
}

#[test]
fn a_file_that_is_gone_takes_its_objects_with_it_and_an_unchanged_one_keeps_them() {
    let mut files = Files::default();
    look(&mut files, &[("a.yaml", &vs("a", 80)), ("b.yaml", &vs("b", 81))]);
    let update = files.apply([FileContent { name: "b.yaml".into(), content: Content::Unchanged }]);
    assert_eq!(said(&update), ["default/a is gone"]);
}

#[test]
fn a_bad_edit_keeps_the_last_good_version_and_leaves_other_files_alone() {
    let mut files = Files::default();
    look(&mut files, &[("a.yaml", &vs("a", 80)), ("b.yaml", &vs("b", 81))]);
    let bad = vs("a", 85).replace("vip:", "vpi:");
    let update = look(&mut files, &[("a.yaml", &bad), ("b.yaml", &vs("b", 82))]);
    assert_eq!(said(&update), ["default/b = 82 from b.yaml, generation 2"]);
    let finding = &update.state.findings[0];
    assert_eq!(
        (finding.file.as_str(), finding.line, finding.column, finding.field.as_str()),
        ("a.yaml", 4, 8, "spec.vpi")
    );
    assert!(update.state.held_files.is_empty(), "it has a last good version");
    let update = look(&mut files, &[("a.yaml", &vs("a", 86)), ("b.yaml", &vs("b", 82))]);
    assert_eq!(said(&update), ["default/a = 86 from a.yaml, generation 2"]);
    assert!(update.state.findings.is_empty());
}

#[test]
fn one_bad_document_keeps_every_document_of_its_file_back() {
    let mut files = Files::default();
    let text = format!("{}{}", vs("good", 80), vs("bad", 81).replace("port:", "pot:"));
    let update = look(&mut files, &[("a.yaml", &text)]);
    assert!(update.changes.is_empty());
    assert_eq!(update.state.held_files, BTreeSet::from(["a.yaml".into()]));
    assert!(
        update.state.complete,
        "a bad file does not make the list incomplete: what it held is named instead"
    );
}

#[test]
fn a_bad_file_that_is_deleted_takes_its_last_good_version_and_its_findings_with_it() {
    let mut files = Files::default();
    look(&mut files, &[("a.yaml", &vs("a", 80))]);
    look(&mut files, &[("a.yaml", "a: [")]);
    let update = look(&mut files, &[]);
    assert_eq!(said(&update), ["default/a is gone"]);
    assert!(update.state.findings.is_empty());
}

#[test]
fn a_file_that_cannot_be_read_keeps_what_it_declared() {
    let mut files = Files::default();
    look(&mut files, &[("a.yaml", &vs("a", 80))]);
    let locked =
        |name: &str| FileContent { name: name.into(), content: Content::Unreadable("locked".to_owned()) };
    let update = files.apply([locked("a.yaml"), locked("b.yaml")]);
    assert!(update.changes.is_empty());
    let findings: Vec<_> =
        update.state.findings.iter().map(|f| (f.file.as_str(), f.message.as_str())).collect();
    assert_eq!(findings, [("a.yaml", "locked"), ("b.yaml", "locked")]);
    assert_eq!(update.state.held_files, BTreeSet::from(["b.yaml".into()]));
}

#[test]
fn of_two_files_with_one_object_the_first_name_wins_and_the_other_takes_over_when_it_goes() {
    let mut files = Files::default();
    let both = [("b.yaml", vs("x", 81)), ("a.yaml", vs("x", 80))];
    let both: Vec<_> = both.iter().map(|(name, text)| (*name, text.as_str())).collect();
    let update = look(&mut files, &both);
    assert_eq!(said(&update), ["default/x = 80 from a.yaml, generation 1"]);
    assert_eq!(update.state.findings.len(), 1);
    let finding = &update.state.findings[0];
    assert_eq!((finding.file.as_str(), finding.line), ("b.yaml", 1));
    assert!(finding.message.contains("default/x is in a.yaml too"), "{}", finding.message);
    let update = look(&mut files, &both[..1]);
    assert_eq!(said(&update), ["default/x = 81 from b.yaml, generation 2"]);
    assert!(update.state.findings.is_empty());
    assert_eq!(said(&look(&mut files, &both)), ["default/x = 80 from a.yaml, generation 3"]);
}

#[test]
fn the_loser_of_two_files_still_brings_its_other_objects() {
    let mut files = Files::default();
    let two = format!("{}{}", vs("x", 81), vs("y", 82));
    let update = look(&mut files, &[("a.yaml", &vs("x", 80)), ("b.yaml", &two)]);
    assert_eq!(
        said(&update),
        ["default/x = 80 from a.yaml, generation 1", "default/y = 82 from b.yaml, generation 1"]
    );
}

#[test]
fn an_object_that_moves_to_another_file_unchanged_keeps_its_generation() {
    let mut files = Files::default();
    look(&mut files, &[("a.yaml", &vs("x", 80))]);
    look(&mut files, &[("a.yaml", &vs("x", 81))]);
    let update = look(&mut files, &[("z.yaml", &vs("x", 81))]);
    assert_eq!(said(&update), ["default/x = 81 from z.yaml, generation 2"]);
}

#[test]
fn an_unreadable_directory_removes_nothing_and_is_not_complete_before_the_first_look() {
    let mut files = Files::default();
    let update = files.unreadable("no such directory".to_owned());
    assert!(!update.state.complete && !update.state.up_to_date);
    look(&mut files, &[("a.yaml", &vs("a", 80)), ("b.yaml", "a: [")]);
    let update = files.unreadable("permission denied".to_owned());
    assert!(update.changes.is_empty());
    assert!(update.state.complete && !update.state.up_to_date);
    assert_eq!(update.state.message, "permission denied");
    assert_eq!(update.state.held_files.len(), 1, "what was known before stays known");
    let update = look(&mut files, &[("a.yaml", &vs("a", 80))]);
    assert!(update.changes.is_empty() && update.state.up_to_date);
}

#[test]
fn a_change_in_one_file_says_nothing_of_the_others() {
    let mut files = Files::default();
    let text: Vec<(String, String)> =
        (1..=300).map(|n| (format!("f{n:03}.yaml"), vs(&format!("s{n:03}"), n))).collect();
    let mut scan: Vec<(&str, &str)> =
        text.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    assert_eq!(look(&mut files, &scan).changes.len(), 300);
    let edit = vs("s007", 4000);
    scan[6].1 = &edit;
    assert_eq!(said(&look(&mut files, &scan)), ["default/s007 = 4000 from f007.yaml, generation 2"]);
}

#[test]
fn the_key_of_a_removed_object_can_be_found_again() {
    let mut files = Files::default();
    look(&mut files, &[("a.yaml", &vs("a", 80))]);
    assert!(files.in_force.contains_key(&key("a")));
    look(&mut files, &[]);
    assert!(files.in_force.is_empty() && files.declared_in.is_empty() && files.contested.is_empty());
}
