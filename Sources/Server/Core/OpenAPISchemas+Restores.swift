import Vault

/// Restores on machines.
extension OpenAPISchemas {
    private static let wish: [String: JSONValue] = [
        "kind": text("restore; or undo, which takes a restore in place back"),
        "undoes": identifier("Of an undo: the order that it takes back."),
        "undo_id": text("Of an undo: by what the machine knows it again; as the result of that order says."),
        "source": identifier("The machine whose point it is."), "machine": identifier("The machine that restores."),
        "point": identifier("The point."), "paths": list(text("Absolute; / for everything.")),
        "paths_hex": list(text("Those that are no UTF-8, in hexadecimal digits.")),
        "to": text("in-place, new-folder or folder"), "folder": list(text("With `folder`: the one, absolute.")),
        "folder_hex": list(text("The same in hexadecimal digits, where it is no UTF-8.")),
        "conflict": text(
            "What happens when a name is taken: rename, always, never or newer. By default always in place, else rename."
        ),
        "delete": flag("Remove what the point does not have below the paths."),
        "verify": flag("Read everything back at the end."),
        "ask": flag("Wait until somebody has agreed to the plan; true when nothing is said."),
        "patience": number("Seconds for which nothing may be heard about it; a week when nothing is said."),
    ]
    private static let optionalWishes: Set<String> = [
        "kind", "undoes", "undo_id", "paths", "paths_hex", "folder", "folder_hex", "conflict", "delete", "verify",
        "ask",
        "patience",
    ]
    private static let issues = list(
        all([
            "kind": text("damaged, failed, conflict, metadata, incomplete, differs or content"),
            "path": text("For people."),
            "text": text("What is to be said."),
        ]))
    private static let plan = all(
        [
            "destination": text("Where it goes."), "bytes_to_write": number("At most."),
            "free_bytes": number("Where it goes."),
            "actions": list(
                all([
                    "name": text("create, directory, unchanged, metadata, overwrite, remove, keep, rename or return"),
                    "count": number("Names."), "bytes": number("Of the files among them."),
                    "samples": list(text("Some of the paths.")),
                ])), "issues": issues, "issue_count": number("Paths that something is to be said about."),
        ], optional: ["free_bytes"])
    private static let progress = all([
        "phase": text("comparing, keeping or restoring"), "files": number("That are done."),
        "bytes": number("That are as they should be."), "total_bytes": number("0 while it is not known."),
        "bytes_per_second": number("Lately."),
    ])
    private static let result = all(
        [
            "destination": text("Where it went."), "files_written": number("Files."), "bytes_written": number("Bytes."),
            "files_unchanged": number("That were there."), "others_written": number("Directories, links and so on."),
            "metadata_only": number("That got their metadata back."), "removed": number("Names."),
            "kept": number("Names that stayed."), "renamed": number("Names that are beside what was there."),
            "verified": number("Files that were read back."), "milliseconds": number("It took."), "issues": issues,
            "issue_count": number("Paths that something is to be said about."),
            "failures": number("Paths that could not be restored."),
            "before": identifier("The point with what was replaced or removed."),
            "undo": flag("The machine can take it back."),
            "undo_id": text("By what the machine knows it again then."),
        ], optional: ["before", "undo_id"])
    private static let order: [String: JSONValue] = wish.merging([
        "order": identifier("The order."), "owner": text("Who ordered it."),
        "created": number("When, nanoseconds since 1970."),
        "state": text("ordered, planning, planned, running, finished, failed, stopped, refused or expired"),
        "confirmed": flag("Somebody has agreed to the plan."), "stopping": flag("Somebody wants it to end."),
        "revision": number("Grows with what is wanted of the machine."),
        "heard": number("When something was heard about it last, nanoseconds since 1970."),
        "begun": number("When the machine began, nanoseconds since 1970."),
        "ended": number("When it ended, nanoseconds since 1970."), "lines": number("Of its log."),
        "machine_lines": number("Of them those that the machine said."), "plan": plan, "progress": progress,
        "plan_number": number("Grows with each plan that is another than the one before."),
        "account": text("The id of the account that ordered it."),
        "result": result, "message": text("Why it ended as it did."), "hint": text("What to do about it."),
    ]) { first, _ in first }

    static let restores: [String: JSONValue] = [
        "RestoreWish": all(wish, optional: optionalWishes),
        "RestoreOrder": all(
            order,
            optional: optionalWishes.union([
                "account", "begun", "ended", "plan", "progress", "result", "message", "hint",
            ])),
        "RestoreOrderList": all(["orders": list(reference("RestoreOrder"))]),
        "RestoreOrderNews": all([
            "order": reference("RestoreOrder"),
            "lines": list(
                all([
                    "number": number("From 1."), "time": number("Nanoseconds since 1970."),
                    "text": text("What was said."),
                ])),
        ]),
        "RestoreOrderReport": all(
            [
                "state": text("planning, planned, running, finished, failed, stopped or refused"), "plan": plan,
                "progress": progress, "result": result, "message": text("Why it ended so."),
                "hint": text("What to do about it."),
                "first_line": number("The number of the first of the lines, among all of the machine about the order."),
                "lines": list(text("For the log.")),
            ], optional: ["state", "plan", "progress", "result", "message", "hint"]),
        "RestoreOrderAnswer": all([
            "state": text("How the order stands."), "confirmed": flag("Somebody has agreed to the plan."),
            "stopping": flag("Somebody wants it to end."), "lines": number("Of the machine that the server has."),
        ]),
    ]
}
