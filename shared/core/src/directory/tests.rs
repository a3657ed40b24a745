use super::*;
use contracts::directory::{Delegate, Escalate, OidcIdentity};

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_ms(1_800_000_000_000 + seconds * 1_000)
}

fn person(id: &str) -> Person {
    Person {
        id: id.into(),
        name: None,
        mail: Some(format!("{id}@x.org")),
        slack: None,
        oidc: None,
        aliases: BTreeSet::new(),
        digest: false,
        delegate: None,
    }
}

fn group(name: &str, members: &[&str]) -> Group {
    let members = members.iter().map(|id| (*id).to_owned()).collect();
    Group { name: name.into(), members, escalate: None, remind_after_seconds: None, claim: None }
}

fn lends(id: &str, to: &str, until: i64) -> Person {
    let delegate = Some(Delegate { to: to.into(), from: None, until: at(until) });
    Person { delegate, ..person(id) }
}

fn escalates(name: &str, members: &[&str], to: &str) -> Group {
    Group { escalate: Some(Escalate { to: to.into(), after_seconds: 60 }), ..group(name, members) }
}

const ROOT: Changed<'static> = Changed { by: "root", at: Timestamp::from_ms(1_800_000_000_000) };

fn by(by: &str) -> Changed<'_> {
    Changed { by, ..ROOT }
}

// ann, bob, cid and dan; finance of ann and bob, which escalates to ops of cid.
fn directory() -> Directory {
    let mut directory = Directory::default();
    for id in ["ann", "bob", "cid", "dan"] {
        directory = directory.with_person(person(id), &ROOT).unwrap();
    }
    directory = directory.with_group(group("ops", &["cid"]), &ROOT).unwrap();
    directory.with_group(escalates("finance", &["ann", "bob"], "ops"), &ROOT).unwrap()
}

fn texts(ids: &[&str]) -> BTreeSet<String> {
    ids.iter().map(|id| (*id).to_owned()).collect()
}

fn nobody() -> &'static BTreeSet<String> {
    static NOBODY: BTreeSet<String> = BTreeSet::new();
    &NOBODY
}

fn now(seconds: i64) -> Asked<'static> {
    Asked { at: at(0), now: at(seconds), excluded: nobody(), claims: Claims::Fresh }
}

fn invalid(result: Result<Directory, ChangeError>) -> Vec<String> {
    match result {
        Err(ChangeError::Invalid(issues)) => issues
            .into_iter()
            .map(|issue| format!("{}: {}", issue.pointer, issue.message))
            .collect(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_person_is_found_by_every_identity_in_whatever_letters() {
    let ann = Person {
        aliases: texts(&["Ann-Bot", "a.smith@x.org"]),
        name: Some("bob".into()),
        slack: Some(SlackIdentity { team_id: "T1".into(), user_id: "U1".into() }),
        ..person("Ann")
    };
    let directory = Directory::default().with_person(ann, &ROOT).unwrap();
    for text in ["ann", "ANN", "ann-bot", "Ann@X.org", "A.SMITH@x.org", "\u{ff21}nn"] {
        assert_eq!(directory.person_of(text).map(|one| one.id.as_str()), Some("ann"), "{text}");
        assert_eq!(directory.voice(text), "ann");
    }
    assert_eq!(directory.known_as("ann"), texts(&["ann", "ann-bot", "ann@x.org", "a.smith@x.org"]));
    assert!(directory.person_of_slack("T1", "U1").is_some());
    assert!(directory.person_of_slack("T2", "U1").is_none(), "of another team");
    assert!(directory.person_of_slack("", "U1").is_none());
}

#[test]
fn attack_a_display_name_is_nobodys_identity() {
    let mallory = Person { name: Some("Ann".into()), ..person("mallory") };
    let directory = directory().with_person(mallory, &ROOT).unwrap();
    assert_eq!(directory.voice("Ann"), "ann");
    assert_eq!(directory.voice("mallory"), "mallory");
    let nameless = Person { mail: None, name: Some("eve".into()), ..person("x") };
    let directory = directory.with_person(nameless, &ROOT).unwrap();
    assert!(directory.person_of("eve").is_none() && directory.groups_of("eve", &now(0)).is_empty());
}

#[test]
fn attack_two_persons_with_one_mail_in_other_letters() {
    for mail in ["ann@x.org", "ANN@X.ORG", "Ann@x.Org"] {
        let twin = Person { mail: Some(mail.into()), ..person("eve") };
        let issues = invalid(directory().with_person(twin, &ROOT));
        assert_eq!(issues, ["/person/mail: `ann@x.org` is the person `ann`"]);
    }
}

#[test]
fn attack_an_alias_that_is_somebody_elses() {
    for alias in ["bob", "BOB", "\u{ff42}ob", "bob@x.org", "Bob@X.org"] {
        let ann = Person { aliases: texts(&[alias]), ..person("ann") };
        let issues = invalid(directory().with_person(ann, &ROOT));
        assert!(issues[0].ends_with("is the person `bob`"), "{alias}: {issues:?}");
    }
    let slack = Some(SlackIdentity { team_id: "T1".into(), user_id: "U1".into() });
    let ann = Person { slack: slack.clone(), ..person("ann") };
    let with = directory().with_person(ann, &ROOT).unwrap();
    let issues = invalid(with.with_person(Person { slack, ..person("bob") }, &ROOT));
    assert_eq!(issues, ["/person/slack: it is the person `ann`"]);
}

#[test]
fn attack_delegating_to_oneself_in_a_circle_or_through_others() {
    assert_eq!(
        invalid(directory().with_person(lends("ann", "ann", 60), &ROOT)),
        ["/person/delegate/to: another person"]
    );
    // dan has ann's place while it lasts, eve none through dan.
    let directory = directory().with_person(lends("ann", "dan", 100), &ROOT).unwrap();
    let directory = directory.with_person(person("eve"), &ROOT).unwrap();
    let chain = directory.with_person(lends("dan", "eve", 100), &ROOT).unwrap();
    let finance = |id: &str, seconds| chain.groups_of(id, &now(seconds)).contains("finance");
    assert!(finance("dan", 0) && finance("dan", 99) && !finance("dan", 100));
    assert!(!finance("eve", 0), "what is lent is not lent on");
    // In a circle each has the other's place as well, and together they are two voices still.
    let circle = directory.with_person(lends("bob", "ann", 100), &ROOT).unwrap();
    let circle = circle.with_person(lends("ann", "bob", 100), &ROOT).unwrap();
    assert_eq!(circle.count("finance", &texts(&["ann", "bob"]), &now(0)), 2);
    assert_eq!(circle.count("finance", &texts(&["ann"]), &now(0)), 1);
}

#[test]
fn attack_a_place_that_two_use_is_one_voice() {
    let directory = directory().with_person(lends("ann", "dan", 100), &ROOT).unwrap();
    let count = |voters: &[&str]| directory.count("finance", &texts(voters), &now(0));
    assert_eq!(count(&["ann", "dan"]), 1, "one place");
    assert_eq!(count(&["bob", "dan"]), 2);
    assert_eq!(count(&["ann", "bob", "dan"]), 2);
    // Who has a place of their own leaves the lent one to its member.
    let both = directory.with_person(lends("ann", "bob", 100), &ROOT).unwrap();
    assert_eq!(both.count("finance", &texts(&["ann", "bob"]), &now(0)), 2);
    assert_eq!(both.count("finance", &texts(&["bob"]), &now(0)), 1, "one person, one voice");
    assert_eq!(both.most("finance", &now(0)), 2);
    assert_eq!(both.most("no-such-group", &now(0)), 0);
}

#[test]
fn who_is_excluded_neither_uses_a_place_nor_lends_one() {
    let directory = directory().with_person(lends("ann", "dan", 100), &ROOT).unwrap();
    let members = |excluded: &[&str]| {
        let excluded = texts(excluded);
        let asked = Asked { excluded: &excluded, ..now(0) };
        let members: Vec<String> = directory.members("finance", &asked).into_keys().collect();
        for id in ["ann", "bob", "cid", "dan"] {
            let own = directory.groups_of(id, &asked).contains("finance");
            assert_eq!(own, members.contains(&id.to_owned()), "{id} {excluded:?}");
        }
        members
    };
    assert_eq!(members(&[]), ["ann", "bob", "dan"]);
    assert_eq!(members(&["ann"]), ["bob"], "dan only had ann's place");
    assert_eq!(members(&["dan"]), ["ann", "bob"]);
    assert_eq!(
        directory.voices_of(&[String::from("ANN@x.org"), "agent".into()]),
        texts(&["agent", "ann"])
    );
}

#[test]
fn a_group_escalates_after_its_time_and_one_step() {
    let mut directory = directory();
    directory = directory.with_group(group("board", &["dan"]), &ROOT).unwrap();
    directory = directory.with_group(escalates("ops", &["cid"], "board"), &ROOT).unwrap();
    let finance = |id: &str, seconds| directory.groups_of(id, &now(seconds)).contains("finance");
    assert!(!finance("cid", 59) && finance("cid", 60));
    assert!(!finance("dan", 10_000), "one step");
    assert_eq!(directory.most("finance", &now(0)), 2);
    assert_eq!(directory.most("finance", &now(60)), 3);
    assert_eq!(directory.view("cid").unwrap().groups, ["ops"]);
}

#[test]
fn attack_nobody_takes_a_place_for_themselves() {
    let refused = |result: Result<Directory, ChangeError>| {
        let error = result.unwrap_err();
        assert!(matches!(&error, ChangeError::OwnPlace { group } if group == "finance"), "{error}");
    };
    let base = directory();
    refused(base.with_group(group("finance", &["ann", "bob", "dan"]), &by("dan")));
    refused(base.with_group(group("finance", &["dan"]), &by("Dan@x.org")));
    refused(base.with_person(lends("ann", "dan", 100), &by("dan")));
    refused(base.with_group(escalates("finance", &["ann"], "ops"), &by("cid")).and_then(|after| {
        // Sooner than before is a way that was not there.
        let mut sooner = escalates("finance", &["ann"], "ops");
        sooner.escalate = Some(Escalate { to: "ops".into(), after_seconds: 61 });
        after.with_group(sooner, &by("cid"))
    }));
    // Somebody who is nobody in the directory becomes a member.
    refused(base.with_person(Person { aliases: texts(&["eve"]), ..person("ann") }, &by("eve")));
    // A group that is ended and made anew is not the first one.
    let without = base.with_group(group("finance", &[]), &by("dan")).unwrap();
    let without = without.with_group(group("ops", &[]), &by("dan")).unwrap();
    assert_eq!(without.groups().count(), 0);
    refused(without.with_group(group("finance", &["dan"]), &by("dan")));
    // Others do it for them, and what is given up needs nobody.
    base.with_group(group("finance", &["ann", "bob", "dan"]), &by("ann")).unwrap();
    base.with_group(group("finance", &["bob"]), &by("ann")).unwrap();
}

#[test]
fn attack_nobody_gives_up_what_excludes_them() {
    let with = Person { aliases: texts(&["ann-bot"]), ..person("ann") };
    let base = directory().with_person(with.clone(), &ROOT).unwrap();
    for by in [by("ann"), by("ann-bot")] {
        let error = base.with_person(person("ann"), &by).unwrap_err();
        assert_eq!(error, ChangeError::OwnIdentity { identity: "ann-bot".into() });
        assert!(base.without_person("ann", &by).is_err());
    }
    base.with_person(person("ann"), &by("bob")).unwrap();
    let moved = Person { mail: Some("a@y.org".into()), ..with.clone() };
    assert!(base.with_person(moved.clone(), &by("ann")).is_err());
    let kept = Person { aliases: texts(&["ann-bot", "ann@x.org"]), ..moved };
    base.with_person(kept, &by("ann")).unwrap();
}

#[test]
fn who_is_removed_is_nowhere() {
    let base = directory().with_person(lends("bob", "cid", 100), &ROOT).unwrap();
    let after = base.without_person("cid", &by("bob")).unwrap();
    assert!(
        after.person("cid").is_none() && after.group("ops").is_none(),
        "it had no other member"
    );
    assert_eq!(after.group("finance").unwrap().escalate, None);
    assert_eq!(after.person("bob").unwrap().delegate, None);
    assert!(matches!(after.without_person("cid", &ROOT), Err(ChangeError::Unknown(_))));
    // Another one of the same name came later.
    let later = Changed { at: at(5), ..ROOT };
    let again = after.with_person(person("cid"), &later).unwrap();
    assert_ne!(again.added_at("cid"), base.added_at("cid"));
    let same =
        base.with_person(Person { name: Some("C".into()), ..person("cid") }, &later).unwrap();
    assert_eq!(same.added_at("cid"), base.added_at("cid"));
}

#[test]
fn names_that_do_not_exist_and_too_much_are_refused() {
    let base = directory();
    assert_eq!(
        invalid(base.with_group(group("finance", &["anne", "Bob"]), &ROOT)),
        ["/group/members/1: there is no person `anne`; did you mean `ann`?"]
    );
    assert_eq!(
        invalid(base.with_group(escalates("finance", &["ann"], "finance"), &ROOT)),
        ["/group/escalate/to: another group"]
    );
    assert_eq!(invalid(base.with_group(escalates("ops", &["ann"], "finanse"), &ROOT)).len(), 1);
    assert_eq!(invalid(base.with_group(group("none", &[]), &ROOT)).len(), 1);
    assert_eq!(
        invalid(base.with_group(group("ops", &[]), &ROOT)),
        ["/group/members: `finance` escalates to it: change that one first"]
    );
    assert_eq!(invalid(base.with_person(lends("ann", "eve", 60), &ROOT)).len(), 1);
    for until in [-1, 0, 91 * 86_400] {
        let issues = invalid(base.with_person(lends("ann", "bob", until), &ROOT));
        assert!(issues[0].starts_with("/person/delegate/until"), "{until}");
    }
    let many: Vec<String> = (0..11).map(|number| format!("alias-{number}")).collect();
    let many = Person { aliases: many.into_iter().collect(), ..person("ann") };
    assert_eq!(invalid(base.with_person(many, &ROOT)).len(), 1);
    let mut full = base;
    for number in full.persons().count()..500 {
        full = full.with_person(person(&format!("p{number}")), &ROOT).unwrap();
    }
    assert_eq!(invalid(full.with_person(person("one-more"), &ROOT)).len(), 1);
    full.with_person(person("ann"), &ROOT).unwrap();
}

fn claims(name: &str, claim: &str) -> Group {
    Group { claim: Some(claim.into()), ..group(name, &[]) }
}

#[test]
fn places_by_claims_count_while_they_are_fresh_and_are_known_after() {
    let base = directory().with_group(claims("risk", "team-risk"), &by("root")).unwrap();
    let said = texts(&["team-risk", "other"]);
    let base = base.with_claims("ann", &said, at(100)).unwrap();
    let fresh = |seconds| base.count("risk", &texts(&["ann", "bob"]), &now(seconds));
    assert_eq!((fresh(0), fresh(99), fresh(100)), (1, 1, 0));
    let known = Asked { claims: Claims::Known, ..now(500) };
    assert_eq!(base.most("risk", &known), 1, "she can sign in again");
    // Who is excluded has no voice by a claim, either.
    let excluded = texts(&["ann"]);
    assert_eq!(base.most("risk", &Asked { excluded: &excluded, ..known }), 0);
    // Another sign-in replaces what the one before said; a removed person has no place.
    let without = base.with_claims("ann", &texts(&["other"]), at(200)).unwrap();
    assert!(without.claimed_by("ann").is_empty() && without.group("risk").is_some());
    let removed = base.without_person("ann", &by("bob")).unwrap();
    assert_eq!(removed.most("risk", &known), 0);
    // Another claim is another group; who is known by another identity signs in first.
    let changed = base.with_group(claims("risk", "team-2"), &by("bob")).unwrap();
    assert!(changed.claimed_by("ann").is_empty());
    let oidc = |subject: &str| OidcIdentity {
        issuer: "https://id.example".into(),
        subject: subject.into(),
    };
    let ann = Person { oidc: Some(oidc("sub-1")), ..person("ann") };
    let known = base.with_person(ann.clone(), &by("bob")).unwrap();
    assert!(known.claimed_by("ann").is_empty());
    assert_eq!(known.person_of_oidc("https://id.example", "sub-1").unwrap().id, "ann");
    assert!(known.person_of_oidc("https://id.example/", "sub-1").is_none());
    assert!(known.person_of_oidc("https://id.example", "SUB-1").is_none());
    // No two persons are one identity, and what is no identity is refused.
    let twin = Person { oidc: Some(oidc("sub-1")), ..person("bob") };
    assert_eq!(invalid(known.with_person(twin, &ROOT)).len(), 1);
    for subject in ["", "a b", "a\nb", "\u{e4}", &"s".repeat(256)] {
        let bad = Person { oidc: Some(oidc(subject)), ..person("bob") };
        assert_eq!(invalid(known.with_person(bad, &ROOT)).len(), 1, "{subject:?}");
    }
}

// Whoever said which claim a group takes its members from has no place by it, under any of the ids
// that they are known by.
#[test]
fn attack_nobody_takes_a_place_by_a_claim_of_their_own_choice() {
    let with = Person { aliases: texts(&["ann-bot"]), ..person("ann") };
    let base = directory().with_person(with, &ROOT).unwrap();
    let base = base.with_group(claims("risk", "everybody"), &by("ann-bot")).unwrap();
    let said = texts(&["everybody"]);
    assert!(base.with_claims("ann", &said, at(100)).unwrap().claimed_by("ann").is_empty());
    assert_eq!(base.with_claims("bob", &said, at(100)).unwrap().claimed_by("bob").len(), 1);
    // Members that are put beside a claim would be a way around it.
    let both = Group { claim: Some("everybody".into()), ..group("risk", &["ann"]) };
    assert_eq!(invalid(base.with_group(both, &by("ann"))).len(), 1);
}
