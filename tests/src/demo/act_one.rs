//! Act one: the tutorial from a folder of files.

use anyhow::Result;

use super::act_two::check_destinations;
use super::narration::{Narrator, check, say};
use super::stage::Stage;
use super::tutorial::{self, FOREIGN_MADE, MANIFESTS, PICTURE, TUTORIAL, VIP};
use super::{director, health, requests};

pub(super) fn play(narrator: &mut Narrator, stage: &Stage) -> Result<()> {
    narrator.act(
        "Act one: direct routing from a folder of files, without an API server",
        "Every host below is a network namespace in a virtual machine with Debian's kernel. Commands are shown\n\
         as root types them on that host.",
    );

    narrator.step("The tutorial's network, before anything of ours is there", || {
        say(PICTURE);
        let quiet = stage.on(
            "rs1",
            "sysctl net.ipv4.conf.all.arp_ignore net.ipv4.conf.all.arp_announce; ip -brief -4 address",
        )?;
        let is_quiet = quiet.contains("arp_ignore = 1") && quiet.contains("arp_announce = 2");
        check(is_quiet && quiet.contains(VIP), "rs1 holds the VIP and is silent about it in ARP", &quiet)?;
        say("\nSomebody else has a service on the Director. It is not ours to touch.");
        stage.on("director", FOREIGN_MADE)?;
        let (code, said) = stage.try_on("client", &format!("curl -sS -m 3 http://{VIP}/"))?;
        check(code != 0, "nobody answers for the VIP", &said)
    })?;

    narrator.step("A page comes through the VIP", || {
        say(&format!("The objects are in one file, {TUTORIAL}:"));
        let file = format!("{MANIFESTS}/virtualservice.yaml");
        stage.copy_to_guest(&stage.checkout.join(TUTORIAL), &file)?;
        stage.on("director", &format!("grep -v '^ *#' {file}"))?;
        director::start(stage, &format!("--manifests {MANIFESTS}"))?;
        let ask = format!("curl -sS -m 3 http://{VIP}/");
        stage.eventually_on("client", &ask, "a page comes", |page| requests::answered_by(page).is_some())?;
        let page = stage.on("client", &ask)?;
        check(requests::answered_by(&page).is_some(), "a real server answers through the VIP", &page)
    })?;
    narrator.first_page();

    narrator.step("The kernel does the work", || {
        let table = stage.on("director", "ipvsadm -Ln")?;
        check_destinations(&table)?;
        let addresses = stage.on("director", "ip -brief -4 address")?;
        check(addresses.contains(VIP), "the Director holds the VIP", &addresses)?;
        let said = stage.on("director", "lvs-controller status")?;
        check(said.contains(VIP), "the agent says what is in force", &said)
    })?;

    narrator.step("A real server stops, and comes back", || {
        say(&format!(
            "By default each real server is checked every 5 s. Here it is done faster:\n{}",
            health::FAST
        ));
        let edit = format!(
            "sed -i 's/^  scheduler: wrr/&\\n  healthCheck: {}/' {MANIFESTS}/virtualservice.yaml",
            health::FAST
        );
        stage.on("director", &edit)?;
        health::stops_and_returns(stage)
    })?;

    narrator.step("The file goes: rules and VIP go, what is not ours stays", || {
        tutorial::goes(stage, || {
            stage.on("director", &format!("rm {MANIFESTS}/virtualservice.yaml")).map(drop)
        })?;
        director::stop(stage)
    })
}
