import Agent
import ArgumentParser
import Client
import Model
import Platform
import Policy
import Vault

/// `holdfast policy effective`
struct PolicyEffective: Command {
    static let configuration = CommandConfiguration(
        commandName: "effective",
        abstract: "Print what holds for a machine, and where each value comes from.",
        usage: "holdfast policy effective [<machine>] [--policy <file>] [<options>]",
        discussion: """
            Without a machine it is this one: by the server that --vault or HOLDFAST_VAULT names, by what that server has told \
            last when it cannot be reached, or by /etc/holdfast/policy.yaml.

            Examples:
              holdfast policy effective
              holdfast policy effective anns-laptop
              holdfast policy effective --class mobile --policy laptops.yaml
            """
    )

    @Argument(
        help: ArgumentHelp(
            "A machine of the server, by its name or the beginning of its id. (default: this machine)",
            valueName: "machine"))
    var machine: String?
    @Option(help: ArgumentHelp("What would hold with this policy and no server.", valueName: "file"))
    var policy: PathArgument?
    @Option(
        name: .customLong("class"),
        help: "With a class: \(MachineClass.allCases.map(\.rawValue).joined(separator: ", ")).")
    var machineClass: ClassArgument?
    @OptionGroup var location: VaultOptions
    @OptionGroup var global: GlobalOptions

    func validate() throws {
        if machine != nil, policy != nil || machineClass != nil {
            throw ValidationError("Either a machine of the server, or --policy and --class.")
        }
    }

    func execute(_ console: Console) throws -> ExitStatus {
        let (effective, source) = try find(console)
        let text = effective.yaml()
        try console.emit(
            "effective_policy",
            [
                "source": .string(source), "layers": .strings(effective.layers), "text": .string(text),
                "protect": .array(
                    effective.protect.map {
                        .object([
                            "path": .string(JSON.text(of: $0.value.path)), "mode": .string($0.value.mode.rawValue),
                            "origin": .string($0.origin.description),
                        ])
                    }),
            ])
        console.note("From \(source).")
        for line in text.split(separator: "\n") { try console.line(String(line)) }
        return .done
    }

    private func find(_ console: Console) throws -> (EffectivePolicy, String) {
        if policy != nil || machineClass != nil {
            var set = PolicySet(machineClass: machineClass?.value)
            if let policy {
                set.machine = try PolicyFile(zones: SystemZones.source).parse(
                    try PolicyPlace.read(policy.bytes), file: policy.description)
            }
            return (set.effective, policy?.description ?? "class \(machineClass?.value.rawValue ?? "")")
        }
        if let machine {
            let place = try PolicyPlace(console, location, global)
            let found = try place.machine(named: machine)
            let document = try place.book.document(of: found.machine)
            return (try document.policySet(SystemZones.lenient).effective, "the server")
        }
        if let address = PolicyPlace.server(location) { return try own(try ServerAddress(address), console) }
        let file = Array(PolicyPlace.defaultFile.utf8)
        guard (try? FileSystem.status(file)) != nil else {
            throw HoldfastError(
                .notFound,
                "This machine has no policy: neither a server was named nor is there \(PolicyPlace.defaultFile).",
                context: ["hint": "Name the server with --vault, a machine of this server, or a file with --policy."])
        }
        let set = PolicySet(
            machine: try PolicyFile(zones: SystemZones.source).parse(
                try PolicyPlace.read(file), file: PolicyPlace.defaultFile))
        return (set.effective, PolicyPlace.defaultFile)
    }

    /// What holds for this machine by its server.
    private func own(_ address: ServerAddress, _ console: Console) throws -> (EffectivePolicy, String) {
        let known = try ServerMembership.load(address, global)
        let credentials = known.credentials
        let connection = ServerConnection(credentials, patience: .init(attempts: 2, longestPause: 500))
        do {
            let document = try RemotePolicies(connection).document(of: credentials.machine)
            return (try document.policySet(SystemZones.lenient).effective, address.description)
        } catch let error as HoldfastError where error.isTemporary {
            let kept = KeptPolicy(
                try StateDirectory(path: try global.stateDirectory()), server: credentials.server,
                key: credentials.serverKey, machine: credentials.machine)
            guard let document = kept.load() else { throw error }
            return (
                try document.policySet(SystemZones.lenient).effective,
                "what \(address.description) told last; it cannot be reached now"
            )
        }
    }
}
