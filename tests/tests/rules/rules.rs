//! Every rule, as the API server tells it. Its twin in `lvs-plan` is compared with the same table in that crate, so
//! the two say the same.

use std::thread;

use lvs_crds::rules::cases::{self, Breach, Case, Expected};

use super::kubectl::Kubectl;

#[test]
#[ignore = "needs an API server: cargo lab test"]
fn the_api_server_says_of_each_case_what_the_table_says() {
    let kubectl = Kubectl::with_definitions("rules");
    // A rule that is ours alone breaks nothing here: such an object is stored, and gets `Accepted` False.
    let cases = cases::all();
    assert!(cases.len() > 50, "{} cases", cases.len());
    // A process each: as many at a time as there are processors.
    let share = cases.len().div_ceil(thread::available_parallelism().map_or(1, usize::from));
    let failures: Vec<String> = thread::scope(|scope| {
        let shares: Vec<_> = cases
            .chunks(share)
            .map(|cases| {
                scope.spawn(|| cases.iter().filter_map(|case| disagreement(&kubectl, case)).collect())
            })
            .collect();
        shares.into_iter().flat_map(|share| -> Vec<String> { share.join().unwrap() }).collect()
    });
    assert!(failures.is_empty(), "{} of {} cases:\n{}", failures.len(), cases.len(), failures.join("\n\n"));
}

/// What the API server adds when a list is too long: it asks no CEL rule then.
const RULES_LEFT_OUT: &str = "some validation rules were not checked because the object was invalid";

/// What the API server says otherwise than the table.
fn disagreement(kubectl: &Kubectl, case: &Case) -> Option<String> {
    let Case { name, kind, .. } = case;
    let expected = &case.expected_of_an_api_server();
    let said = kubectl.verdict(&case.object("case"));
    let agrees = match (expected, &said) {
        (Expected::Accepted, Ok(())) => true,
        (Expected::Broken(breaches), Err(refusal)) => is_told(breaches, refusal),
        (Expected::WrongType { field, words }, Err(refusal)) => {
            refusal.contains(field) && refusal.contains(words)
        }
        _ => false,
    };
    (!agrees).then(|| format!("{kind}: {name}\nexpected: {expected:#?}\nthe API server: {said:?}"))
}

/// Whether a refusal tells these breaches, each once, and nothing else. kubectl prints one after the first line's
/// end, and several as a list.
fn is_told(breaches: &[Breach], refusal: &str) -> bool {
    let Some((_, told)) = refusal.split_once(" is invalid: ") else { return false };
    let told: Vec<&str> = told
        .lines()
        .map(|line| line.trim_start_matches("* "))
        .filter(|line| !line.is_empty() && !line.contains(RULES_LEFT_OUT))
        .collect();
    let tells = |line: &str, breach: &Breach| {
        let words = breach.rule.check.words_of_the_api_server();
        let is_message = line.ends_with(&format!(": {}", breach.rule.message))
            || words.iter().any(|words| line.contains(words));
        line.starts_with(&format!("{}: ", breach.field)) && is_message
    };
    told.len() == breaches.len()
        && breaches.iter().all(|breach| told.iter().filter(|line| tells(line, breach)).count() == 1)
}
