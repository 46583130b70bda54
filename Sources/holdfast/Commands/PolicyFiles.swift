import ArgumentParser
import Client
import Model
import Policy

/// `holdfast policy put`
struct PolicyPut: Command {
    static let configuration = CommandConfiguration(
        commandName: "put",
        abstract: "Keep policies on the server.",
        usage: "holdfast policy put <file> ... [<options>]",
        discussion: """
            The name is that in the file; what has this name already gets a new revision, and the machines that have the policy \
            follow it at once. A file with a mistake changes nothing.

            Examples:
              holdfast policy put laptops.yaml
              holdfast policy put *.yaml --vault https://backup.example.org --token-file ~/ann.token
            """
    )

    @Argument(help: ArgumentHelp("Policies.", valueName: "file"))
    var files: [PathArgument]
    @OptionGroup var location: VaultOptions
    @OptionGroup var global: GlobalOptions

    func execute(_ console: Console) throws -> ExitStatus {
        let texts = try files.map { file -> (name: String, text: String) in
            let bytes = try PolicyPlace.read(file.bytes)
            // All files are looked at before the first is kept; the server looks again.
            _ = try PolicyFile(zones: SystemZones.lenient).parse(bytes, file: file.description)
            return (file.description, String(decoding: bytes, as: UTF8.self))
        }
        let place = try PolicyPlace(console, location, global)
        for (name, text) in texts {
            let revision = try place.book.put(text, file: name)
            try console.emit("policy", revision.fields)
            try console.line("\(revision.name): revision \(revision.revision)")
        }
        return .done
    }
}

/// `holdfast policy list`
struct PolicyList: Command {
    static let configuration = CommandConfiguration(
        commandName: "list",
        abstract: "List the policies of the server, and who has them.",
        usage: "holdfast policy list [<options>]",
        discussion: "The classes that the program brings are policies too: `holdfast policy show --class mobile`."
    )

    @OptionGroup var location: VaultOptions
    @OptionGroup var global: GlobalOptions

    func execute(_ console: Console) throws -> ExitStatus {
        let place = try PolicyPlace(console, location, global)
        let names = Dictionary(try place.book.machines().map { ($0.machine, $0.name) }) { $1 }
        var table = Table(("policy", .left), ("revision", .right), ("changed", .left), ("by", .left), ("of", .left))
        for policy in try place.book.policies() {
            let machines = policy.machines.map { names[$0] ?? String($0.hex.prefix(8)) }
            var fields = policy.newest.fields
            fields["groups"] = .strings(policy.groups)
            fields["machines"] = .array(policy.machines.map { .id($0) })
            try console.emit("policy", fields)
            let users = policy.groups.map { "group \($0)" } + machines.map { TreePath.display($0.utf8) }
            table.add(
                policy.newest.name, "\(policy.newest.revision)",
                TimeText.local(policy.newest.time, in: console.zone), TreePath.display(policy.newest.author.utf8),
                users.isEmpty ? "nobody" : users.joined(separator: ", "))
        }
        if table.isEmpty, !console.isJSON { console.note("There are no policies yet: `holdfast policy put FILE`.") }
        if !table.isEmpty { try console.table(table) }
        return .done
    }
}

/// `holdfast policy show`
struct PolicyShow: Command {
    static let configuration = CommandConfiguration(
        commandName: "show",
        abstract: "Print a policy as it was put, an older revision of it, or a class.",
        usage: "holdfast policy show <name> [--revision <number> | --revisions] | --class <class>",
        discussion: """
            Examples:
              holdfast policy show laptops > laptops.yaml
              holdfast policy show laptops --revisions
              holdfast policy show --class mobile
            """
    )

    @Argument(help: ArgumentHelp("The policy.", valueName: "name"))
    var name: String?
    @Option(help: ArgumentHelp("An older revision. (default: the newest)", valueName: "number"))
    var revision: Int64?
    @Flag(help: "List its revisions.")
    var revisions = false
    @Option(
        name: .customLong("class"),
        help: "A class that the program brings: \(MachineClass.allCases.map(\.rawValue).joined(separator: ", ")).")
    var machineClass: ClassArgument?
    @OptionGroup var location: VaultOptions
    @OptionGroup var global: GlobalOptions

    func validate() throws {
        if (name == nil) == (machineClass == nil) { throw ValidationError("Name a policy, or a --class.") }
        if revisions, revision != nil { throw ValidationError("Either --revision or --revisions.") }
    }

    func execute(_ console: Console) throws -> ExitStatus {
        if let machineClass {
            let text = machineClass.value.yaml
            try console.emit("policy_text", ["name": .string(machineClass.value.policyName), "text": .string(text)])
            try console.line("# \(machineClass.value.summary)")
            for line in text.split(separator: "\n") { try console.line(String(line)) }
            return .done
        }
        guard let name else { return .usage }
        let place = try PolicyPlace(console, location, global)
        if revisions {
            var table = Table(("revision", .right), ("changed", .left), ("by", .left))
            for revision in try place.book.revisions(of: name) {
                try console.emit("policy", revision.fields)
                table.add(
                    "\(revision.revision)", TimeText.local(revision.time, in: console.zone),
                    TreePath.display(revision.author.utf8))
            }
            try console.table(table)
            return .done
        }
        let policy = try place.book.policy(name, revision: revision)
        var fields = policy.revision.fields
        fields["text"] = .string(policy.text)
        try console.emit("policy_text", fields)
        var lines = policy.text.split(separator: "\n", omittingEmptySubsequences: false)
        if lines.last?.isEmpty == true { lines.removeLast() }
        for line in lines { try console.line(String(line)) }
        return .done
    }
}

/// `holdfast policy remove`
struct PolicyRemove: Command {
    static let configuration = CommandConfiguration(
        commandName: "remove",
        abstract: "Remove a policy that no group and no machine has.",
        usage: "holdfast policy remove <name> [<options>]",
        discussion: "Its revisions stay: `holdfast policy show NAME --revision NUMBER` prints them."
    )

    @Argument(help: ArgumentHelp("The policy.", valueName: "name"))
    var name: String
    @OptionGroup var location: VaultOptions
    @OptionGroup var global: GlobalOptions

    func execute(_ console: Console) throws -> ExitStatus {
        try PolicyPlace(console, location, global).book.remove(name)
        try console.emit("policy_removed", ["name": .string(name)])
        try console.line("\(name) was removed.")
        return .done
    }
}

/// `holdfast policy changes`
struct PolicyChanges: Command {
    static let configuration = CommandConfiguration(
        commandName: "changes",
        abstract: "List who has changed what about policies, newest first.",
        usage: "holdfast policy changes [<options>]"
    )

    @OptionGroup var location: VaultOptions
    @OptionGroup var global: GlobalOptions

    func execute(_ console: Console) throws -> ExitStatus {
        var table = Table(("when", .left), ("who", .left), ("what", .left))
        for change in try PolicyPlace(console, location, global).book.changes() {
            try console.emit(
                "policy_change",
                ["time": .time(change.time), "author": .string(change.author), "text": .string(change.text)])
            table.add(
                TimeText.local(change.time, in: console.zone), TreePath.display(change.author.utf8),
                TreePath.display(change.text.utf8))
        }
        try console.table(table)
        return .done
    }
}

extension PolicyRevision {
    /// For JSON.
    var fields: [String: JSON] {
        ["name": .string(name), "revision": .integer(revision), "author": .string(author), "time": .time(time)]
    }
}

/// A class of machines.
struct ClassArgument: ExpressibleByArgument {
    let value: MachineClass

    init?(argument: String) {
        guard let value = MachineClass(rawValue: argument) else { return nil }
        self.value = value
    }
}
