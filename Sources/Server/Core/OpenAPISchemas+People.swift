import Vault

/// Files at any time, accounts, tokens, and who did what.
extension OpenAPISchemas {
    private static let moment = number("Nanoseconds since 1970.")

    private static let pathFields: [String: JSONValue] = [
        "path": text("From the machine's root; readable, when its bytes are no UTF-8."),
        "path_hex": text("Its bytes, when they are no UTF-8."),
    ]

    private static let item = all(
        pathFields.merging([
            "kind": text("file, directory, link, device, pipe or socket"), "size": number("In bytes."),
            "modified": moment, "mode": text("Octal."), "uid": number("Of the owner."), "gid": number("Of the group."),
            "user": text("The owner's name."), "group": text("The group's name."), "target": text("Of a link."),
            "content_missing": flag("The machine could not read it then."),
            "last_point": reference("MachinePoint"),
        ]) { $1 }, optional: ["path_hex", "target", "last_point"])

    private static let accountFields: [String: JSONValue] = [
        "id": identifier("The account."), "name": text("What is typed to sign in."),
        "role": text("owner, administrator, operator, help-desk, auditor or person"),
        "groups": list(text("A group of machines; none: all, for operators and help desks.")),
        "places": list(reference("AccountPlace")), "disabled": flag("It cannot sign in."),
        "second_factor": flag("Signing in asks for a code."), "password": flag("A link has been used."),
        "created": moment, "last_sign_in": moment,
    ]

    private static let token = all(
        [
            "id": text("The token, in lists."), "name": text("What it is for."),
            "rights": list(text("A right; it counts as long as the account has it.")), "created": moment,
            "expires": moment, "used": moment, "used_from": text("The address of its last use."),
        ], optional: ["used", "used_from"])

    static let people: [String: JSONValue] = [
        "Machine": .object(["type": .string("object"), "description": .string("As in the list of machines.")]),
        "MachinePoint": all([
            "id": identifier("The point."), "time": moment, "kind": text("continuous or scheduled"),
            "partial": flag("The first backup was not finished."), "damaged": flag("Some of its files are damaged."),
            "kept": flag("It stays whatever the rules say."),
        ]),
        "MachinePoints": all(["points": list(reference("MachinePoint")), "more": flag("There are earlier ones.")]),
        "FileItem": item,
        "FileList": all(
            [
                "point": reference("MachinePoint"), "entry": reference("FileItem"),
                "items": list(reference("FileItem")), "more": flag("Ask again, with `next` as `after`."),
                "next": text("The name behind which the next page begins, percent-encoded."),
                "deleted": list(reference("FileItem")),
            ], optional: ["deleted", "next"]),
        "VersionList": all([
            "versions": list(
                all(
                    [
                        "point": reference("MachinePoint"),
                        "change": text("added, removed, content, metadata or type"), "entry": reference("FileItem"),
                    ], optional: ["entry"]))
        ]),
        "NameList": all([
            "point": reference("MachinePoint"),
            "names": list(
                .object([
                    "type": .string("object"),
                    "description": .string("As in a list of files; only the path, when it is not there at this point."),
                ])),
            "more": flag("There are more than are told."), "partial": flag("Not every name was looked at."),
        ]),
        "Difference": all([
            "lines": list(
                all(
                    [
                        "kind": text("same, removed, added or skipped"), "text": text("The line."),
                        "count": number("Equal lines that are left out."),
                    ], optional: ["text", "count"]))
        ]),
        "ArchiveRequest": all(
            [
                "point": identifier("A point; else the newest."), "at": text("A time in words or figures."),
                "folder": text("Names in the archive begin below it; / when it is missing."),
                "paths": list(text("Paths in the folder, or hex: and the bytes; none: all of it.")),
                "format": text("zip or tar.zst"),
            ], optional: ["point", "at", "folder", "paths", "format"]),
        "AccountPlace": all(
            pathFields.merging([
                "machine": identifier("The machine."), "uid": number("Who the person is there."),
                "user": text("Their name there."),
            ]) { $1 }, optional: ["path_hex", "uid", "user"]),
        "Account": all(accountFields, optional: ["last_sign_in"]),
        "AccountList": all(["accounts": list(reference("Account"))]),
        "NewAccount": all(
            ["name": text("What is typed to sign in."), "role": text("Its role."), "groups": list(text("A group."))],
            optional: ["groups"]),
        "AccountChange": all(
            [
                "role": text("Its role."), "groups": list(text("A group.")), "places": list(reference("AccountPlace")),
                "disabled": flag("It cannot sign in."),
            ], optional: ["role", "groups", "places", "disabled"]),
        "AccountLink": all([
            "account": reference("Account"), "secret": text("Sets the password, once."),
            "path": text("Of the page at this server that does so."),
        ]),
        "LinkUse": all(["secret": text("Of the link."), "password": text("The new one.")]),
        "Me": all(
            [
                "name": text("Who asks."), "rights": list(text("What they may.")),
                "all_machines": flag("Nothing is hidden because of its group."), "account": reference("Account"),
            ], optional: ["account"]),
        "PasswordChange": all(["old": text("The one until now."), "new": text("The new one.")]),
        "SecondFactor": all([
            "password": text("Of the account."), "secret": text("20 random bytes in hexadecimal digits."),
            "code": text("What an app shows for it now."),
        ]),
        "BackupCodes": all(["codes": list(text("Stands in for the second factor, once."))]),
        "SessionList": all([
            "sessions": list(
                all([
                    "address": text("Where it was begun."), "browser": text("What it says that it is."),
                    "begun": moment, "used": moment,
                ]))
        ]),
        "Token": token,
        "TokenList": all(["tokens": list(reference("Token"))]),
        "NewToken": all(
            [
                "name": text("What it is for."), "rights": list(text("Some of the account's rights.")),
                "seconds": number("How long it holds; 90 days when it is missing, 366 at most."),
            ], optional: ["seconds"]),
        "TokenCode": all(["code": text("The token; shown once."), "token": reference("Token")]),
        "AuditLines": all([
            "lines": list(
                all([
                    "number": number("From 1."), "time": moment, "who": text("Who."), "address": text("From where."),
                    "action": text("What was done."), "object": text("To what."),
                    "succeeded": flag("It was allowed and went well."),
                    "detail": .object(["type": .string("object")]), "hash": digest("Over the line and the one before."),
                ]))
        ]),
        "AuditVerdict": all(
            [
                "whole": flag("It is what was written, as far as can be seen."),
                "lacks_kept": flag("The line that was asked for is not there."),
                "lines": number("Lines."), "hash": digest("Of the newest line."),
                "first_broken": number("The first line that is not what was written."),
            ], optional: ["first_broken"]),
        "EnrolmentCodeList": all([
            "codes": list(
                all(
                    [
                        "id": digest("The code, in lists."), "group": text("Of the machines."),
                        "name": text("Who has made it."), "created": moment, "uses": number("Machines that are left."),
                        "expires": moment,
                    ], optional: ["uses", "expires"]))
        ]),
        "NewEnrolmentCode": all(
            [
                "group": text("Of the machines."), "uses": number("For how many machines; 1."),
                "hours": number("How long it holds; 24."),
                "address": text("By which machines reach this server."),
            ], optional: ["group", "uses", "hours", "address"]),
        "EnrolmentCode": all(["code": text("The code; shown once."), "line": text("What to paste on the machine.")]),
    ]
}
