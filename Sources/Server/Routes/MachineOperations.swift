import Catalog
import Client
import Model
import Vault

/// The machines that the server knows.
enum MachineOperations {
    static let all: [Operation] = [
        Operation(
            "GET", "/api/v1/machines", "The machines that have enrolled, by name.", tag: "machines",
            response: .json("MachineList")
        ) { core, request in
            let desk = try core.desk(request)
            try desk.require(.seeStates)
            let machines = try desk.machines().map { JSONValue.object(describe($0, core)) }
            return .json(JSONValue.object(["machines": .array(machines)]).encoded())
        },
        Operation(
            "POST", "/api/v1/machines/{machine}/approve", "Lets a machine that waits go on with the history of its id.",
            tag: "machines", status: 204
        ) { core, request in
            let desk = try core.desk(request)
            try desk.require(.manageMachines)
            try desk.answer(waiting: try desk.machine(request.parameters["machine"]), isApproved: true)
            return .nothing
        },
        Operation(
            "POST", "/api/v1/machines/{machine}/refuse", "Sends away what waits under the id of a machine.",
            tag: "machines",
            status: 204
        ) { core, request in
            let desk = try core.desk(request)
            try desk.require(.manageMachines)
            try desk.answer(waiting: try desk.machine(request.parameters["machine"]), isApproved: false)
            return .nothing
        },
        Operation(
            "PUT", "/api/v1/machines/{machine}/key", "Changes the key that signs the machine's requests.",
            tag: "machines",
            access: .machine, request: .json("KeyChange"), status: 204
        ) { core, request in
            let id = try request.machine()
            guard try request.id("machine", as: MachineID.self) == id else {
                throw HoldfastError(.denied, "a machine changes its own key only")
            }
            let fields = try JSONFields(parsing: request.body, document: "the change of keys")
            let key = VerifyingKey(bytes: try fields.digest("key"))
            try core.catalog.change(id) { machine in
                if key == machine.key { return }
                // While the key of the last change has not been used, the one before it is what the machine surely has.
                if machine.previousKey == nil { machine.previousKey = machine.key }
                machine.key = key
            }
            return .nothing
        },
        record,
        Operation(
            "POST", "/api/v1/machines/{machine}/retire",
            "Takes a machine out of service: its keys open nothing any more, its points stay as the rules say.",
            tag: "machines", status: 204
        ) { core, request in
            let desk = try core.desk(request)
            try desk.require(.manageMachines)
            try desk.retire(try desk.machine(request.parameters["machine"]))
            return .nothing
        },
        Operation(
            "POST", "/api/v1/machines/{machine}/return", "Takes a retired machine into service again.",
            tag: "machines", status: 204
        ) { core, request in
            let desk = try core.desk(request)
            try desk.require(.manageMachines)
            try desk.reinstate(try desk.machine(request.parameters["machine"]))
            return .nothing
        },
    ]

    private static let record = Operation(
        "PUT", "/api/v1/machines/{machine}/record",
        "Registers a machine of an owner-only vault with its record, signed by the vault's key.", tag: "machines",
        access: .machine, request: .binary("a machine's record"), status: 204,
        failures: [(409, "The server can open the vault and registers its machines itself.")], maximumBody: 64 << 10
    ) { core, request in
        let id = try request.machine()
        guard try request.id("machine", as: MachineID.self) == id else {
            throw HoldfastError(.denied, "a machine registers itself only")
        }
        try core.register(try request.body.withUnsafeBytes { try MachineRecord.decode($0) }, of: id)
        return .nothing
    }

    /// What the server knows of a machine, and what that said last.
    static func describe(_ machine: ManagedMachine, _ core: ServerCore) -> [String: JSONValue] {
        encode(machine).merging(core.lifeFields(machine)) { $1 }
    }

    private static func encode(_ machine: ManagedMachine) -> [String: JSONValue] {
        let state =
            switch machine.state {
            case .active: "active"
            case .waiting: "waiting"
            case .retired: "retired"
            }
        return [
            "id": .string(machine.id.hex), "name": .string(machine.name), "group": .string(machine.group),
            "former_names": .array(machine.formerNames.map { .string($0) }), "state": .string(state),
            "enrolled": .integer(machine.enrolled.nanoseconds), "last_seen": .integer(machine.lastSeen.nanoseconds),
        ]
    }
}
