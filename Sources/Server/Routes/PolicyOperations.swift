import Catalog
import Client
import Foundation
import Model
import Policy
import Vault

/// Policies, who they are for, and what machines are told.
enum PolicyOperations {
    static let all: [Operation] = policies + placement + machines

    private static let policies: [Operation] = [
        Operation(
            "GET", "/api/v1/policies", "The newest revision of every policy, and who has it.", tag: "policies",
            response: .json("PolicyList")
        ) { core, request in
            try core.require(request, machine: nil, or: .seeStates)
            return .json(PolicyMessages.encode(try core.policies(request).policies()))
        },
        Operation(
            "POST", "/api/v1/policies",
            "Checks a policy and keeps it, as a new revision, under the name that it says.", tag: "policies",
            access: .person(.managePolicies), request: .json("PolicyFile"), response: .json("PolicyRevision"),
            failures: [(400, "The policy has mistakes; each is told with its line and column.")],
            maximumBody: PolicyMessages.maximumLength
        ) { core, request in
            try core.require(request, machine: nil, or: .managePolicies)
            let (text, file) = try PolicyMessages.putting(request.body)
            let revision = try core.policies(request).put(text, file: file)
            core.bell.ring()
            return .json(PolicyMessages.encode(revision))
        },
        Operation(
            "GET", "/api/v1/policies/{policy}", "What a policy says.", tag: "policies",
            query: [("revision", "The revision; the newest when it is not said.")], response: .json("PolicyText")
        ) { core, request in
            try core.require(request, machine: nil, or: .seeStates)
            let revision = try request.number("revision", in: 1...Int.max)
            return .json(
                PolicyMessages.encode(
                    try core.policies(request).policy(request.name("policy"), revision: revision.map { Int64($0) })))
        },
        Operation(
            "POST", "/api/v1/policy-previews",
            "What a text would bring to each of some machines, if it were kept: nothing is.", tag: "policies",
            access: .person(.managePolicies),
            query: [("machines", "Ids, with commas between them; those that have the policy when it is not said.")],
            request: .json("PolicyFile"),
            response: .json("PolicyPreviewList"),
            failures: [(400, "The policy has mistakes; each is told with its line and column.")],
            maximumBody: PolicyMessages.maximumLength
        ) { core, request in
            try core.require(request, machine: nil, or: .managePolicies)
            let (text, file) = try PolicyMessages.putting(request.body)
            let ids = try request.query["machines"].map { list in
                try list.split(separator: ",").prefix(PolicyBook.mostPreviews).map { hex in
                    guard let id = MachineID(hex: String(hex)) else {
                        throw HoldfastError(.usage, "machines has something that is no identifier")
                    }
                    return id
                }
            }
            let previews = try core.policies(request).preview(text, file: file, for: ids)
            return .json(PolicyPreview.encode(previews))
        },
        Operation(
            "DELETE", "/api/v1/policies/{policy}", "Removes a policy that nobody has. Its revisions are kept.",
            tag: "policies", status: 204, failures: [(409, "A group or a machine has it.")]
        ) { core, request in
            try core.require(request, machine: nil, or: .managePolicies)
            try core.policies(request).remove(request.name("policy"))
            core.bell.ring()
            return .nothing
        },
        Operation(
            "GET", "/api/v1/policies/{policy}/revisions", "The revisions of a policy, newest first.", tag: "policies",
            response: .json("PolicyRevisionList")
        ) { core, request in
            try core.require(request, machine: nil, or: .seeStates)
            return .json(PolicyMessages.encode(try core.policies(request).revisions(of: request.name("policy"))))
        },
        Operation(
            "GET", "/api/v1/policy-changes", "Who has changed what about policies, newest first.", tag: "policies",
            response: .json("PolicyChangeList")
        ) { core, request in
            try core.require(request, machine: nil, or: .seeStates)
            return .json(PolicyMessages.encode(try core.policies(request).changes()))
        },
    ]

    private static let placement: [Operation] = [
        Operation(
            "PUT", "/api/v1/groups/{group}/policy", "Gives a group a policy, or none.", tag: "policies",
            access: .person(.managePolicies), request: .json("PolicyAssignment"), status: 204
        ) { core, request in
            try core.require(request, machine: nil, or: .managePolicies)
            let policy = try PolicyMessages.assigning(request.body)
            try core.policies(request).assign(policy, toGroup: request.name("group"))
            core.bell.ring()
            return .nothing
        },
        Operation(
            "GET", "/api/v1/placements", "Every machine with its class, its groups and its own policy.",
            tag: "policies", response: .json("PlacementList")
        ) { core, request in
            try core.require(request, machine: nil, or: .seeStates)
            return .json(PolicyMessages.encode(try core.policies(request).machines()))
        },
        Operation(
            "PUT", "/api/v1/machines/{machine}/placement",
            "Changes the class, the groups or the own policy of a machine; what is not named stays.", tag: "policies",
            access: .person(.managePolicies), request: .json("PlacementChange"), status: 204
        ) { core, request in
            try core.require(request, machine: nil, or: .managePolicies)
            let change = try PolicyMessages.placement(request.body)
            try core.policies(request).place(try request.id("machine"), change)
            core.bell.ring()
            return .nothing
        },
    ]

    private static let machines: [Operation] = [
        Operation(
            "GET", "/api/v1/machines/{machine}/policy",
            "The policies of a machine, signed by the server's identity key: the signature holds as long as they are kept.",
            tag: "policies", query: [("zone", "A machine says by it which time zone its clock has.")],
            response: .json("SignedPolicy")
        ) { core, request in
            let id: MachineID = try request.id("machine")
            try core.require(request, machine: id, or: .seeStates)
            if request.principal == .machine(id), let zone = request.query["zone"]?.removingPercentEncoding,
                SystemZones.load(zone) != nil
            {
                try core.catalog.note(zone: zone, of: id)
            }
            let document = try core.policies(request).document(of: id)
            return .json(try SignedPolicy(document, signing: core.identity.key).encoded())
        },
        Operation(
            "GET", "/api/v1/machines/{machine}/commands",
            "What the server wants of a machine: the revision of its policies, and commands. Waits until there is something "
                + "new.", tag: "policies",
            query: [
                ("policy", "The revision of the policies that the machine knows."),
                (
                    "restores",
                    "The digest of the restores that the machine knows, or `none`: the first 16 bytes of SHA-256 over a line "
                        + "`order:revision` for each. Without it none are told."
                ), ("done", "Ids of commands that it has heard of, with commas between them; they are not told again."),
                ("wait", "Seconds to wait for something new, at most \(MachineOrders.longestWait)."),
            ], response: .json("MachineOrders")
        ) { core, request in
            let id = try request.machine()
            guard try request.id("machine", as: MachineID.self) == id else {
                throw HoldfastError(.denied, "a machine asks for its own orders only")
            }
            let wait = try request.number("wait", in: 0...MachineOrders.longestWait) ?? 0
            return try core.orders(of: id, request, mayWait: wait > 0)
        },
        Operation(
            "POST", "/api/v1/machines/{machine}/commands", "Tells a machine to do something: back-up-now.",
            tag: "policies", access: .person(.operate), request: .json("MachineCommand"), status: 202
        ) { core, request in
            let desk = try core.desk(request)
            let machine = try desk.machine(request.parameters["machine"])
            let kind = try JSONFields(parsing: request.body, document: "the command").string("kind")
            guard kind == MachineOrders.backUpNow else {
                throw HoldfastError(.usage, "there is no command of this kind")
            }
            try desk.backUpNow(machine)
            return ServerAnswer(status: 202)
        },
    ]
}

extension ServerRequest {
    /// A name in the path.
    fileprivate func name(_ parameter: String) -> String {
        let text = parameters[parameter] ?? ""
        return text.removingPercentEncoding ?? text
    }
}

extension ServerCore {
    /// The policies as whoever asks may change them.
    func policies(_ request: ServerRequest) -> PolicyBook { policies(by: request.owner) }

    package func policies(by author: String) -> PolicyBook {
        PolicyBook(catalog, zones: SystemZones.source, author: author, clock: clock)
    }

    fileprivate func orders(of machine: MachineID, _ request: ServerRequest, mayWait: Bool) throws -> ServerAnswer {
        if let done = request.query["done"] {
            let ids = done.split(separator: ",").prefix(MachineOrders.maximumCommands).compactMap { CommandID(hex: $0) }
            try catalog.remove(commands: ids, of: machine)
        }
        let commands = try catalog.commands(of: machine)
        let revision = try bell.revision(of: machine) { try policies(request).document(of: machine).revision }
        let known = request.query["restores"]
        let restores = try known.map { _ in MachineOrders.Restores(try self.restores.open(of: machine)) }
        let isSame = restores.map { $0.orders.isEmpty ? known == "none" : known == $0.digest } ?? true
        if commands.isEmpty, isSame, request.query["policy"] == Hex.encode(revision.array), mayWait,
            !request.isLastLook
        {
            throw NotYet(isRung: true)
        }
        let told = commands.prefix(MachineOrders.maximumCommands).map {
            MachineOrders.Command(
                id: RequestNonce(high: $0.id.high, low: $0.id.low), kind: $0.kind,
                owner: $0.owner)
        }
        return .json(MachineOrders(policy: revision, commands: told, restores: restores).encoded())
    }
}
