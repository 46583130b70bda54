import Vault

/// What machines tell of themselves, and alerts.
extension OpenAPISchemas {
    static let life: [String: JSONValue] = [
        "MachineReport": all(
            [
                "activity": text("idle, scanning, capturing, waiting, asleep or stopped"),
                "time": number("By the machine's clock, nanoseconds since 1970."),
                "run": identifier("New at each start of the agent."),
                "sequence": number("Of reports of a run, from 1."),
                "boot": identifier("New at each start of the machine."), "host": text("The host's name."),
                "program": text("And its version."), "kernel": text("Its release."),
                "lag": number("Age of the oldest change that is not stored, in nanoseconds; 0 when all is."),
                "waiting": number("Paths that wait."), "files": number("In the newest point."),
                "bytes": number("In the newest point."),
                "newest": all([
                    "point": identifier("The newest point."), "number": number("In its incarnation."),
                    "time": number("By the machine's clock, nanoseconds since 1970."),
                ]), "problem": text("Why the vault could not be written to."),
                "not_kept": .object([
                    "type": .string("object"),
                    "description": .string("How many paths could not be kept, by the reason's number."),
                    "additionalProperties": number("Paths."),
                ]), "not_kept_count": number("Paths that could not be kept as they are."),
                "watches": list(
                    all(
                        [
                            "mount_point": text("Of the file system."), "kind": text("For example ext4."),
                            "scan_reason": text("Why changes are found by scans only."),
                            "overflows": number("How often events were lost and everything was looked at."),
                        ], optional: ["scan_reason"])),
                "spool": all([
                    "bytes": number("That wait to be sent."), "limit": number("In bytes."),
                    "full": flag("There is no room: only the latest versions are kept."),
                ]),
                "changes": all([
                    "rewritten": number("Files with other contents since the report before."),
                    "deleted": number("Files that are gone since then."),
                ]), "round_trip": number("Of the report before, in nanoseconds."),
                "slept": number("Nanoseconds that the machine was asleep since the report before."),
            ], optional: ["boot", "newest", "problem", "spool", "changes", "round_trip"]),
        "ReportAnswer": all([
            "interval": number("Seconds until the next report is wanted."),
            "change_key": flag("Another machine signs with the same key: change it."),
        ]),
        "Alert": all(
            [
                "number": number("Of the alert, from 1."), "kind": text("What it is, for programs."),
                "machine": identifier("The machine that it is about."), "machine_name": text("Its name."),
                "severity": text("warning or critical"), "text": text("What is wrong and what to do."),
                "state": text("open, acknowledged or resolved"),
                "raised": number("When, nanoseconds since 1970."),
                "changed": number("When its state changed last, nanoseconds since 1970."),
                "by": text("Who acknowledged or resolved it."),
            ], optional: ["machine", "machine_name", "by"]),
        "AlertList": all(["alerts": list(reference("Alert"))]),
        "AlertTrials": all([
            "targets": list(
                all(
                    [
                        "target": text("mail, webhook or heartbeat, and the address."),
                        "failure": text("Why it failed; nothing when it worked."),
                    ], optional: ["failure"]))
        ]),
    ]
}
