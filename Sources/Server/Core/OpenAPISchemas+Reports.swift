import Vault

/// Reports, what fills the vault, and rules that mute alerts.
extension OpenAPISchemas {
    private static let moment = number("Nanoseconds since 1970.")
    private static let muteFields: [String: JSONValue] = [
        "kind": text("The kind of the alerts; without it all kinds."),
        "machine": identifier("The machine that they are about."),
        "group": text("The group of machines that they are about; without both, all machines and the server."),
        "reason": text("Why, for others."),
    ]

    static let reports: [String: JSONValue] = [
        "ReportMail": all(["to": list(text("An address that gets it."))]),
        "ProtectionReport": all(
            [
                "title": text("What the server is called."), "time": moment, "since": moment,
                "verdict": text("All of it in one sentence."),
                "machines": list(
                    all(
                        [
                            "machine": identifier("The machine."), "name": text("Its name."),
                            "group": text("Its group."), "condition": text("How it is; see the list of machines."),
                            "newest": moment,
                            "lag": number("How far it is behind, in nanoseconds; left out when it is not heard of."),
                            "bytes": number("That it protects."), "stored": number("That are its own in the vault."),
                            "problem": text("Why it is not protected."),
                        ], optional: ["newest", "lag", "problem"])),
                "lag_median": number("Of all machines, in nanoseconds; left out when it is not known."),
                "lag_worst": number("Of all machines, in nanoseconds; left out when it is not known."),
                "lag_unknown": number("Machines that are not heard of; they count as worse than all others."),
                "raised": list(reference("Alert")), "open": list(reference("Alert")),
                "storage": all(
                    [
                        "stored": number("Bytes."), "stored_before": number("At the beginning of that time."),
                        "points": number("That are kept."), "available": number("Bytes of room."),
                        "total": number("Bytes of the disk."), "growth": number("Bytes a day."),
                        "days_until_full": number("As it grows now."),
                        "problem": text("Why the vault cannot be looked at."),
                    ],
                    optional: [
                        "stored_before", "available", "total", "growth", "days_until_full", "problem",
                    ]),
                "work": list(
                    all([
                        "kind": text("What the server did."), "done": number("Times."), "failed": number("Times."),
                        "running": number("Now."),
                    ])),
            ], optional: ["lag_median", "lag_worst", "storage", "work"]),
        "MachineGrowth": all(
            [
                "places": list(
                    all(
                        [
                            "path": text("From the machine's root; readable, when its bytes are no UTF-8."),
                            "path_hex": text("Its bytes, when they are no UTF-8."),
                            "bytes": number("Of contents that are new or other."), "files": number("With them."),
                            "rest": flag("What is left of a directory whose largest parts are listed themselves."),
                        ], optional: ["path_hex"])),
                "total": number("Bytes, before compression and before equal contents are kept once."),
                "points": number("That were compared; with fewer than two nothing can be said."),
                "partial": flag("There were more changes than are looked at."), "from": moment, "to": moment,
            ], optional: ["from", "to"]),
        "NewAlertMute": all(
            muteFields.merging(["seconds": number("How long it holds; a minute to a year.")]) { $1 },
            optional: ["kind", "machine", "group", "reason"]),
        "AlertMute": all(
            muteFields.merging([
                "id": text("The rule, in lists."), "until": moment, "created": moment, "by": text("Who made it."),
            ]) { $1 }, optional: ["kind", "machine", "group"]),
        "AlertMuteList": all(["mutes": list(reference("AlertMute"))]),
        "NewWebhook": all(["url": text("What gets each alert as JSON.")]),
        "Webhook": all(["url": text("The address."), "secret": text("Keys the HMAC-SHA256 of what is sent.")]),
    ]
}
