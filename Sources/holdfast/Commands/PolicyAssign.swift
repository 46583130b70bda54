import ArgumentParser
import Client
import Model
import Policy

/// `holdfast policy assign`
struct PolicyAssign: Command {
    static let configuration = CommandConfiguration(
        commandName: "assign",
        abstract: "Give groups or machines a policy, or take it away.",
        usage: """
            holdfast policy assign <policy> --group <group> ... [<options>]
            holdfast policy assign <policy> --machine <machine> ... [<options>]
            holdfast policy assign --none (--group <group> ... | --machine <machine> ...)
            """,
        discussion: """
            A group or a machine has one policy of its own. What holds for a machine is: the defaults, its class, the policies \
            of its groups in their order, its own policy; what comes later counts more.

            Examples:
              holdfast policy assign laptops --group default
              holdfast policy assign ann --machine anns-laptop
              holdfast policy assign --none --group berlin
            """
    )

    @Argument(help: ArgumentHelp("The policy.", valueName: "policy"))
    var policy: String?
    @Option(help: ArgumentHelp("A group; may be given several times.", valueName: "group"))
    var group: [String] = []
    @Option(
        help: ArgumentHelp(
            "A machine, by its name or the beginning of its id; may be given several times.", valueName: "machine"))
    var machine: [String] = []
    @Flag(help: "Take the policy away.")
    var none = false
    @OptionGroup var location: VaultOptions
    @OptionGroup var global: GlobalOptions

    func validate() throws {
        if none == (policy != nil) { throw ValidationError("Name a policy, or --none.") }
        if group.isEmpty, machine.isEmpty { throw ValidationError("Name a --group or a --machine.") }
    }

    func execute(_ console: Console) throws -> ExitStatus {
        let place = try PolicyPlace(console, location, global)
        for name in group {
            try place.book.assign(policy, toGroup: name)
            try tell(console, "group", name)
            if policy != nil, try !place.book.machines().contains(where: { $0.groups.contains(name) }) {
                console.note(
                    "No machine is in the group \(TreePath.display(name.utf8)) yet. `holdfast policy machine` lists the groups."
                )
            }
        }
        for name in machine {
            let found = try place.machine(named: name)
            try place.book.place(found.machine, PlacementChange(policy: policy ?? ""))
            try tell(console, "machine", found.name)
        }
        return .done
    }

    private func tell(_ console: Console, _ kind: String, _ name: String) throws {
        try console.emit(
            "policy_assigned", [kind: .string(name), "policy": policy.map { .string($0) } ?? .null])
        let shown = TreePath.display(name.utf8)
        try console.line(
            policy.map { "The \(kind) \(shown) has the policy \($0)." }
                ?? "The \(kind) \(shown) has no policy of its own."
        )
    }
}

/// `holdfast policy machine`
struct PolicyMachine: Command {
    static let configuration = CommandConfiguration(
        commandName: "machine",
        abstract: "Show or change the class and the groups of machines.",
        usage: "holdfast policy machine [<machine>] [--class <class>] [--groups <group>,...] [<options>]",
        discussion: """
            Without options it lists machines with their classes, groups and policies. The first group is the one that a machine \
            enrolled with; a later one counts more.

            Examples:
              holdfast policy machine
              holdfast policy machine anns-laptop --class mobile --groups default,berlin
            """
    )

    @Argument(
        help: ArgumentHelp(
            "The machine, by its name or the beginning of its id. (default: all of them)", valueName: "machine"))
    var machine: String?
    @Option(
        name: .customLong("class"),
        help: ArgumentHelp(
            "Its class: \(MachineClass.allCases.map(\.rawValue).joined(separator: ", ")), or none.", valueName: "class")
    )
    var machineClass: String?
    @Option(
        help: ArgumentHelp("Its groups, with commas between them; those that count more last.", valueName: "groups"))
    var groups: String?
    @OptionGroup var location: VaultOptions
    @OptionGroup var global: GlobalOptions

    func validate() throws {
        if machine == nil, machineClass != nil || groups != nil { throw ValidationError("Which machine?") }
    }

    func execute(_ console: Console) throws -> ExitStatus {
        let place = try PolicyPlace(console, location, global)
        var wanted: MachineID?
        if let machine {
            let found = try place.machine(named: machine)
            wanted = found.machine
            if machineClass != nil || groups != nil {
                try place.book.place(
                    found.machine,
                    PlacementChange(
                        machineClass: machineClass.map { $0 == "none" ? "" : $0 },
                        groups: groups?.split(separator: ",").map { $0.filter { $0 != " " } }))
            }
        }
        var table = Table(
            ("machine", .left), ("name", .left), ("class", .left), ("groups", .left), ("own policy", .left))
        for standing in try place.book.machines() where wanted == nil || standing.machine == wanted {
            try console.emit(
                "machine",
                [
                    "machine": .id(standing.machine), "name": .string(standing.name),
                    "class": standing.machineClass.map { .string($0) } ?? .null, "groups": .strings(standing.groups),
                    "policy": standing.policy.map { .string($0) } ?? .null, "time_zone": .string(standing.zone),
                ])
            table.add(
                String(standing.machine.hex.prefix(8)), TreePath.display(standing.name.utf8),
                standing.machineClass ?? "none", standing.groups.joined(separator: ", "), standing.policy ?? "none")
        }
        try console.table(table)
        return .done
    }
}

/// `holdfast server backup-now`
struct ServerBackupNow: Command {
    static let configuration = CommandConfiguration(
        commandName: "backup-now",
        abstract: "Let machines store everything that has changed, now.",
        usage: "holdfast server backup-now <machine> ... [<options>]",
        discussion: """
            Their agents hear of it at once when they run and can reach the server, else as soon as they do. What has a schedule is \
            stored as well.

            Examples:
              holdfast server backup-now anns-laptop
            """
    )

    @Argument(help: ArgumentHelp("A machine, by its name or the beginning of its id.", valueName: "machine"))
    var machines: [String]
    @OptionGroup var location: VaultOptions
    @OptionGroup var global: GlobalOptions

    func execute(_ console: Console) throws -> ExitStatus {
        let place = try PolicyPlace(console, location, global)
        for found in try machines.map({ try place.machine(named: $0) }) {
            try place.book.backUpNow(found.machine)
            try console.emit("backup_asked", ["machine": .id(found.machine), "name": .string(found.name)])
            try console.line("\(TreePath.display(found.name.utf8)) is told to.")
        }
        return .done
    }
}
