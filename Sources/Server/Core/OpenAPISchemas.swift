import Vault

/// The JSON objects of the protocol.
enum OpenAPISchemas {
    static func object(_ fields: [String: JSONValue], required: [String]) -> JSONValue {
        .object([
            "type": .string("object"), "properties": .object(fields),
            "required": .array(required.sorted().map { .string($0) }),
        ])
    }

    static func all(_ fields: [String: JSONValue], optional: Set<String> = []) -> JSONValue {
        object(fields, required: fields.keys.filter { !optional.contains($0) })
    }

    static func text(_ meaning: String) -> JSONValue {
        .object(["type": .string("string"), "description": .string(meaning)])
    }

    static func identifier(_ meaning: String) -> JSONValue {
        .object([
            "type": .string("string"), "pattern": .string("^[0-9a-f]{32}$"), "description": .string(meaning),
        ])
    }

    static func digest(_ meaning: String) -> JSONValue {
        .object([
            "type": .string("string"), "pattern": .string("^[0-9a-f]{64}$"), "description": .string(meaning),
        ])
    }

    static func number(_ meaning: String) -> JSONValue {
        .object(["type": .string("integer"), "description": .string(meaning)])
    }

    static func flag(_ meaning: String) -> JSONValue {
        .object(["type": .string("boolean"), "description": .string(meaning)])
    }

    static func list(_ item: JSONValue) -> JSONValue {
        .object(["type": .string("array"), "items": item])
    }

    static func reference(_ name: String) -> JSONValue {
        .object(["$ref": .string("#/components/schemas/\(name)")])
    }

    private static let jobFields: [String: JSONValue] = [
        "job": identifier("The job."), "kind": text("What it does."),
        "state": text("running, done, failed, cancelled or interrupted"), "owner": text("Who began it."),
        "started": number("When, nanoseconds since 1970."), "ended": number("When, nanoseconds since 1970."),
        "done": number("Bytes."), "total": number("Bytes; 0 while it is not known."),
    ]

    private static let revisionFields: [String: JSONValue] = [
        "name": text("Of the policy."), "revision": number("From 1."), "author": text("Who has put it there."),
        "time": number("When, nanoseconds since 1970."),
    ]

    /// Of policies.
    private static let policies: [String: JSONValue] = [
        "PolicyRevision": all(revisionFields),
        "PolicyRevisionList": all(["revisions": list(reference("PolicyRevision"))]),
        "PolicyText": all(revisionFields.merging(["text": text("YAML.")]) { $1 }),
        "PolicyFile": all(["text": text("YAML."), "file": text("Its name, for the errors.")]),
        "PolicyList": all([
            "policies": list(
                all(
                    revisionFields.merging([
                        "groups": list(text("A group that has it.")),
                        "machines": list(identifier("A machine whose own policy it is.")),
                    ]) { $1 }))
        ]),
        "PolicyAssignment": all(["policy": text("Its name; empty for none.")]),
        "PlacementList": all([
            "machines": list(
                all(
                    [
                        "machine": identifier("The machine."), "name": text("What people call it."),
                        "class": text("A class that the program brings."),
                        "groups": list(text("The one that counts least first.")), "policy": text("Its own policy."),
                        "zone": text("The time zone of its clock; empty while it is not known."),
                    ], optional: ["class", "policy"]))
        ]),
        "PlacementChange": all(
            [
                "class": text("Empty for none."), "groups": list(text("The one that counts least first.")),
                "policy": text("Empty for none."),
            ], optional: ["class", "groups", "policy"]),
        "SignedPolicy": all([
            "document": text("JSON: the machine, its class, and what its policies say."),
            "signature": text("Of the document, by the server's identity key, in hexadecimal digits."),
        ]),
        "MachineOrders": all(
            [
                "policy": digest("The revision of the machine's policies: SHA-256 of the document."),
                "commands": list(
                    all(["id": identifier("The command."), "kind": text("back-up-now"), "owner": text("Who wants it.")])
                ),
                "restores": list(reference("RestoreOrder")),
            ], optional: ["restores"]),
        "MachineCommand": all(["kind": text("back-up-now")]),
        "PolicyPreviewList": all([
            "machines": list(
                all([
                    "machine": text("The machine."), "name": text("Its name."),
                    "before": text("What holds now, as YAML; empty when it cannot be read."),
                    "after": text("What would hold, each value with its origin."),
                    "changes": flag("Whether anything would be different."),
                ]))
        ]),
        "PolicyChangeList": all([
            "changes": list(
                all([
                    "time": number("When, nanoseconds since 1970."), "author": text("Who."), "text": text("What."),
                ]))
        ]),
    ]

    static let all: [String: JSONValue] = policies.merging(common) { $1 }.merging(settings) { $1 }

    private static let settingFields: [String: JSONValue] = [
        "mail_to": list(text("An address that is told of alerts.")),
        "mail_from": text("The sender's address; empty for the usual one."),
        "mail_server": all(
            [
                "host": text("The mail server."), "port": number("Its port."),
                "security": text("implicit, upgrade, or none for the server's own machine."),
                "user": text("Who signs in."),
                "password": text("Only on the way in."),
            ], optional: ["host", "port", "security", "user", "password"]),
        "silent_seconds": number("A machine that is not heard of for so long is silent."),
        "lag_seconds": number("A change that waits for so long is an alert."),
        "heartbeat": text("An address that is called every minute; empty for none."),
        "console_address": text("By what people reach the console; stands in mails."),
        "report_to": list(text("An address that gets the weekly report.")),
        "report_weekday": number("1 Monday to 7 Sunday."), "report_hour": number("After which hour of the day."),
    ]

    private static let settings: [String: JSONValue] = [
        "Settings": all(
            settingFields.merging(["webhooks": list(text("An address that gets alerts as JSON."))]) { $1 },
            optional: ["mail_server"]),
        "SettingsChange": all(settingFields, optional: Set(settingFields.keys)),
    ]
    static let everything: [String: JSONValue] = all.merging(life) { first, _ in first }.merging(people) { first, _ in
        first
    }
    .merging(restores) { first, _ in first }.merging(reports) { first, _ in first }

    private static let common: [String: JSONValue] = [
        "Problem": all(
            [
                "type": text("urn:holdfast:error: and the code."), "code": text("What went wrong."),
                "detail": text("For a person."), "status": number("The status."),
                "temporary": flag("Whether trying again later may help."),
                "context": .object(["type": .string("object")]), "blobs": list(digest("A blob that is missing.")),
            ], optional: ["context", "blobs"]),
        "Identity": all(
            [
                "server": identifier("The server."), "key": digest("Its identity key, Ed25519."),
                "version": text("Of the program."), "vault": identifier("Its vault."),
                "time": number("Its clock, seconds since 1970."),
                "certificate": text("The certificate that it made for itself, PEM."),
            ], optional: ["certificate"]),
        "Health": all([
            "status": text("ok, degraded or failing"),
            "checks": list(
                all(
                    [
                        "name": text("What was looked at."), "status": text("ok, degraded or failing"),
                        "reason": text("What is wrong and what to do."),
                    ], optional: ["reason"])),
        ]),
        "JobRequest": all([
            "kind": text("verify, plan-reclaim, reclaim, plan-retention, retention, rebuild or delete-points"),
            "vault": identifier("The vault."),
            "parameters": .object(["type": .string("object")]),
        ]),
        "JobBegun": all(["job": identifier("The job.")]),
        "Job": all(jobFields, optional: ["ended"]),
        "JobList": all(["jobs": list(reference("Job"))]),
        "JobEvent": .object([
            "type": .string("object"), "required": .array([.string("type")]),
            "properties": .object([
                "type": text("line or state"), "number": number("Of a line, from 1."), "text": text("Of a line."),
                "state": text("running, done, failed, cancelled or interrupted"),
                "result": .object(["type": .string("object")]), "failure": reference("Problem"),
            ]),
        ]),
        "VaultDescription": all([
            "config": text("The vault's config.json."), "has_keys": flag("The server can open the vault."),
            "may_read": flag("Who asks may read what points hold."),
        ]),
        "VaultStatistics": .object(["type": .string("object")]),
        "Hold": all([
            "hold": identifier("The hold."), "placed_at": number("When, nanoseconds since 1970."),
            "placed": flag("Placed, or released."), "machines": list(identifier("Empty: all machines.")),
            "paths": list(text("In hexadecimal digits; empty: everything.")),
            "from": number("Points from here, nanoseconds since 1970 ..."), "until": number("... to here."),
            "reference": text("For people."),
        ]),
        "HoldList": all(["holds": list(reference("Hold"))]),
        "HoldRequest": all(
            ["content": reference("Hold"), "record": text("The signed record, in hexadecimal digits.")],
            optional: ["record"]),
        "KeyMaterial": all([
            "config": text("config.json, in hexadecimal digits."),
            "files": list(all(["name": text("Below keys/."), "bytes": text("In hexadecimal digits.")])),
        ]),
        "KeySlot": .object(["type": .string("object")]),
        "EnrolmentRequest": all([
            "token": text("The token of the enrolment code."), "machine": identifier("The machine."),
            "name": text("What people call it."), "key": digest("The key that signs its requests."),
            "signing": digest("The key that signs its points."),
            "proof": text("Made with `key`, base64url."),
        ]),
        "OwnerOnlyGrant": all([
            "machine": identifier("The machine."), "vault": identifier("The vault."),
            "owner_only": flag("Always true."), "material": text("The vault's key files, as KeyMaterial."),
            "waiting": flag("A person has to approve first."),
        ]),
        "EnrolmentAnswer": .object(["oneOf": .array([reference("EnrolmentGrant"), reference("OwnerOnlyGrant")])]),
        "EnrolmentGrant": all([
            "machine": identifier("The machine."), "vault": identifier("The vault."),
            "public": text("The vault's public key."), "public_number": number("Its number."),
            "vault_signing": digest("The vault's own signing key."), "domain": text("Where deduplication reaches."),
            "secrets": list(all(["number": number("From 1."), "secret": digest("A convergence secret.")])),
            "chunker": text("How files are cut."), "tree": text("How trees are built."),
            "waiting": flag("A person has to approve first."),
        ]),
        "Head": all([
            "incarnation": identifier("The incarnation."), "number": number("Of the newest point."),
            "hash": digest("Of its locator."),
        ]),
        "LeaseRequest": all(
            [
                "purpose": text("writer or reader"), "machine": identifier("Writers: themselves."),
                "head": reference("Head"), "base": identifier("Writers: the point whose nodes are not sent again."),
                "points": list(identifier("Readers: a point that must stay.")),
            ], optional: ["machine", "head", "base", "points"]),
        "Lease": all(
            [
                "lease": identifier("The lease."), "generation": number("Of the vault."), "head": reference("Head"),
                "incarnation": identifier("Of the next point."), "number": number("Of the next point."),
                "previous": digest("Of the point before."), "new_incarnation": flag("A new chain begins."),
                "base_available": flag("The nodes of the base need not be sent."),
                "damaged": list(digest("A blob that sending again heals.")),
                "expires_in": number("Seconds without use."),
            ], optional: ["head"]),
        "Receipt": all([
            "point": identifier("The point."), "arrival": number("By the vault's clock, nanoseconds since 1970."),
            "stored_up_to": reference("Head"),
        ]),
        "Point": all([
            "id": identifier("The point."), "machine": identifier("Its machine."),
            "incarnation": identifier("Its incarnation."), "number": number("In its incarnation."),
            "time": number("By the machine's clock, nanoseconds since 1970."),
            "arrival": number("By the vault's clock."), "effective": number("What retention counts by."),
            "kind": number("0 continuous, 1 scheduled, 2 manual, 3 checkpoint."),
            "partial": flag("Of a first backup that goes on."), "pinned": flag("Kept whatever the rules say."),
            "held": flag("Under a hold."), "series": text("Points of one series protect the same."),
            "hash": digest("Of its locator."), "previous": digest("Of the point before."),
            "references": list(digest("A blob that it names.")),
            "condition": number("0 whole, 1 damaged, 2 out of chain."),
        ]),
        "PointPage": all(
            ["points": list(reference("Point")), "next": number("Where the next page begins.")], optional: ["next"]),
        "GrantRequest": all(["wrap": digest("SHA-256 of the wrapped key.")]),
        "Grant": all(["key": digest("The record key.")]),
        "Machine": all(
            [
                "id": identifier("The machine."), "name": text("What people call it."), "group": text("Its group."),
                "former_names": list(text("A name that it had, newest first.")),
                "state": text("active, waiting or retired"), "enrolled": number("When, nanoseconds since 1970."),
                "last_seen": number("When, nanoseconds since 1970."),
                "condition": text(
                    "protected, behind, warnings, problem, asleep, silent, unreported, waiting or retired"),
                "clone_host": text("The host of a copy of it that is left outside."),
                "report": reference("MachineReport"),
                "received": number("When its report came, nanoseconds since 1970."),
            ], optional: ["clone_host", "report", "received"]),
        "MachineList": all(["machines": list(reference("Machine"))]),
        "KeyChange": all(["key": digest("The new key.")]),
    ]
}
