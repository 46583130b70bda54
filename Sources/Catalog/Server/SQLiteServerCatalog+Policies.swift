package import Model

/// The step of the schema that policies need.
enum PolicySchema {
    static let step: [SQLText] = [
        """
        CREATE TABLE policy (
            name TEXT NOT NULL,
            revision INTEGER NOT NULL,
            body TEXT,
            author TEXT NOT NULL,
            time INTEGER NOT NULL,
            PRIMARY KEY (name, revision)
        )
        """,
        "CREATE TABLE group_policy (name TEXT PRIMARY KEY, policy TEXT NOT NULL)",
        """
        CREATE TABLE machine_placement (
            machine BLOB PRIMARY KEY,
            class TEXT NOT NULL,
            further_groups TEXT NOT NULL,
            policy TEXT NOT NULL,
            zone TEXT NOT NULL
        )
        """,
        """
        CREATE TABLE machine_command (
            id BLOB PRIMARY KEY,
            machine BLOB NOT NULL,
            kind TEXT NOT NULL,
            owner TEXT NOT NULL,
            created INTEGER NOT NULL
        )
        """,
        "CREATE INDEX machine_command_machine ON machine_command (machine)",
        "CREATE TABLE policy_change (number INTEGER PRIMARY KEY, time INTEGER NOT NULL, author TEXT NOT NULL, body TEXT NOT NULL)",
        "CREATE TABLE policy_epoch (number INTEGER NOT NULL)",
        "INSERT INTO policy_epoch (number) VALUES (1)",
    ]
}

/// Policies, who they are for, and commands.
extension SQLiteServerCatalog {
    private static let newest: SQLText =
        """
        SELECT name, revision, body, author, time FROM policy AS p
        WHERE body IS NOT NULL AND revision = (SELECT MAX(revision) FROM policy WHERE name = p.name) ORDER BY name
        """

    private static func decode(_ row: SQLiteRow) -> StoredPolicy {
        StoredPolicy(
            name: row.text(0), revision: row.integer(1), text: row.text(2), author: row.text(3), time: row.time(4))
    }

    /// A change that machines have to hear of, with a line that says who did it.
    private func change<T>(
        author: String, at time: Timestamp, _ body: (SQLiteSession) throws -> (T, String?)
    ) throws -> T {
        try write(isChange: true) { session in
            let (result, text) = try body(session)
            if let text {
                try session.run(
                    """
                    INSERT INTO policy_change (number, time, author, body)
                    SELECT COALESCE(MAX(number), 0) + 1, $1, $2, $3 FROM policy_change
                    """, .time(time), .text(author), .text(text))
                try session.run("UPDATE policy_epoch SET number = number + 1")
            }
            return result
        }
    }

    // MARK: Policies

    package func policies() throws -> [StoredPolicy] { try read { try $0.all(Self.newest, decode: Self.decode) } }

    private func policyRow(_ name: String, _ revision: Int64?, _ session: SQLiteSession) throws -> StoredPolicy? {
        if let revision {
            return try session.first(
                """
                SELECT name, revision, body, author, time FROM policy
                WHERE name = $1 AND revision = $2 AND body IS NOT NULL
                """, .text(name), .integer(revision), decode: Self.decode)
        }
        let found = try session.first(
            """
            SELECT name, revision, body, author, time FROM policy WHERE name = $1
            ORDER BY revision DESC LIMIT 1
            """, .text(name)
        ) { $0.isNull(2) ? nil : Self.decode($0) }
        return found ?? nil
    }

    package func policy(_ name: String, revision: Int64?) throws -> StoredPolicy? {
        try read { try policyRow(name, revision, $0) }
    }

    package func revisions(of name: String) throws -> [StoredPolicy] {
        try read {
            try $0.all(
                """
                SELECT name, revision, body, author, time FROM policy WHERE name = $1 AND body IS NOT NULL
                ORDER BY revision DESC
                """, .text(name), decode: Self.decode)
        }
    }

    private func add(
        _ name: String, _ text: String?, author: String, at time: Timestamp, _ session: SQLiteSession
    ) throws -> Int64 {
        let last = try session.first("SELECT MAX(revision) FROM policy WHERE name = $1", .text(name)) {
            $0.isNull(0) ? 0 : $0.integer(0)
        }
        let revision = (last ?? 0) + 1
        try session.run(
            "INSERT INTO policy (name, revision, body, author, time) VALUES ($1, $2, $3, $4, $5)", .text(name),
            .integer(revision), text.map { .text($0) } ?? .null, .text(author), .time(time))
        return revision
    }

    package func put(_ name: String, _ text: String, author: String, at time: Timestamp) throws -> StoredPolicy {
        try change(author: author, at: time) { session in
            if let known = try policyRow(name, nil, session), known.text == text { return (known, nil) }
            let revision = try add(name, text, author: author, at: time, session)
            let stored = StoredPolicy(name: name, revision: revision, text: text, author: author, time: time)
            return (stored, "put policy \(name), revision \(revision)")
        }
    }

    package func restore(_ policy: StoredPolicy) throws {
        try write(isChange: true) { session in
            try session.run("UPDATE policy_epoch SET number = number + 1")
            _ = try session.run(
                """
                INSERT INTO policy (name, revision, body, author, time) VALUES ($1, $2, $3, $4, $5)
                ON CONFLICT (name, revision) DO NOTHING
                """, .text(policy.name), .integer(policy.revision), .text(policy.text), .text(policy.author),
                .time(policy.time))
        }
    }

    package func removePolicy(_ name: String, author: String, at time: Timestamp) throws {
        try change(author: author, at: time) { session in
            guard try policyRow(name, nil, session) != nil else { throw Self.noPolicy(name) }
            let groups = try session.all("SELECT name FROM group_policy WHERE policy = $1", .text(name)) { $0.text(0) }
            let machines = try session.all(
                """
                SELECT m.name FROM machine_placement AS p JOIN machine AS m ON m.id = p.machine WHERE p.policy = $1
                """, .text(name)
            ) { $0.text(0) }
            let users = groups.map { "group \($0)" } + machines.map { "machine \($0)" }
            guard users.isEmpty else {
                let shown = users.sorted().prefix(5).joined(separator: ", ") + (users.count > 5 ? ", ..." : "")
                throw HoldfastError(
                    .forbidden, "The policy \"\(name)\" is in use by \(shown).",
                    context: ["hint": "Give them another first: `holdfast policy assign`."])
            }
            _ = try add(name, nil, author: author, at: time, session)
            return ((), "removed policy \(name)")
        }
    }

    private static func noPolicy(_ name: String) -> HoldfastError {
        HoldfastError(
            .notFound, "The server has no policy \"\(name)\".",
            context: ["hint": "`holdfast policy list` names them; `holdfast policy put FILE` adds one."])
    }

    // MARK: Who they are for

    package func groupPolicies() throws -> [String: String] {
        try read { session in
            let rows = try session.all("SELECT name, policy FROM group_policy") { ($0.text(0), $0.text(1)) }
            return Dictionary(rows) { $1 }
        }
    }

    package func assign(_ policy: String?, toGroup group: String, author: String, at time: Timestamp) throws {
        try change(author: author, at: time) { session in
            let known = try session.first("SELECT policy FROM group_policy WHERE name = $1", .text(group)) {
                $0.text(0)
            }
            if known == policy { return ((), nil) }
            guard let policy else {
                try session.run("DELETE FROM group_policy WHERE name = $1", .text(group))
                return ((), "took policy \(known ?? "") from group \(group)")
            }
            guard try policyRow(policy, nil, session) != nil else { throw Self.noPolicy(policy) }
            try session.run(
                """
                INSERT INTO group_policy (name, policy) VALUES ($1, $2)
                ON CONFLICT (name) DO UPDATE SET policy = excluded.policy
                """, .text(group), .text(policy))
            return ((), "gave policy \(policy) to group \(group)")
        }
    }

    private static let placementColumns: SQLText =
        """
        SELECT m.id, m.machine_group, p.class, p.further_groups, p.policy, p.zone
        FROM machine AS m LEFT JOIN machine_placement AS p ON p.machine = m.id
        """

    private static func decodePlacement(_ row: SQLiteRow) -> MachinePlacement {
        func text(_ column: Int32) -> String? {
            let text = row.isNull(column) ? "" : row.text(column)
            return text.isEmpty ? nil : text
        }
        let further = text(3)?.split(separator: "\n").map(String.init) ?? []
        return MachinePlacement(
            machineClass: text(2), groups: [row.text(1)] + further, policy: text(4), zone: text(5) ?? "")
    }

    private func placementRow(_ machine: MachineID, _ session: SQLiteSession) throws -> MachinePlacement {
        guard
            let found = try session.first(
                SQLText(Self.placementColumns.sqlite + " WHERE m.id = $1"), .id(machine), decode: Self.decodePlacement)
        else {
            throw HoldfastError(.notFound, "There is no machine with this id.", context: ["machine": machine.hex])
        }
        return found
    }

    package func placement(of machine: MachineID) throws -> MachinePlacement {
        try read { try placementRow(machine, $0) }
    }

    package func placements() throws -> [MachineID: MachinePlacement] {
        try read { session in
            let rows = try session.all(Self.placementColumns) { row in
                (try row.identifier(0, as: MachineID.self), Self.decodePlacement(row))
            }
            return Dictionary(rows) { $1 }
        }
    }

    private func keep(_ placement: MachinePlacement, of machine: MachineID, _ session: SQLiteSession) throws {
        try session.run(
            """
            INSERT INTO machine_placement (machine, class, further_groups, policy, zone) VALUES ($1, $2, $3, $4, $5)
            ON CONFLICT (machine) DO UPDATE SET class = excluded.class, further_groups = excluded.further_groups,
                policy = excluded.policy, zone = excluded.zone
            """, .id(machine), .text(placement.machineClass ?? ""),
            .text(placement.groups.dropFirst().joined(separator: "\n")), .text(placement.policy ?? ""),
            .text(placement.zone))
    }

    @discardableResult
    package func place(
        _ machine: MachineID, author: String, at time: Timestamp, _ body: (inout MachinePlacement) throws -> Void
    ) throws -> MachinePlacement {
        try change(author: author, at: time) { session in
            let known = try placementRow(machine, session)
            var changed = known
            try body(&changed)
            if changed == known { return (known, nil) }
            if let policy = changed.policy, policy != known.policy, try policyRow(policy, nil, session) == nil {
                throw Self.noPolicy(policy)
            }
            try session.run(
                "UPDATE machine SET machine_group = $2 WHERE id = $1", .id(machine), .text(changed.groups.first ?? ""))
            try keep(changed, of: machine, session)
            let name = try session.first("SELECT name FROM machine WHERE id = $1", .id(machine)) { $0.text(0) }
            return (changed, Self.describe(known, changed, of: "\(name ?? "") (\(machine.hex.prefix(8)))"))
        }
    }

    private static func describe(_ old: MachinePlacement, _ new: MachinePlacement, of machine: String) -> String {
        var parts: [String] = []
        if old.machineClass != new.machineClass { parts.append("class \(new.machineClass ?? "none")") }
        if old.groups != new.groups { parts.append("groups \(new.groups.joined(separator: ", "))") }
        if old.policy != new.policy { parts.append("policy \(new.policy ?? "none")") }
        return "machine \(machine): \(parts.joined(separator: "; "))"
    }

    package func note(zone: String, of machine: MachineID) throws {
        let known = try placement(of: machine)
        if known.zone == zone { return }
        try write { session in
            var placement = try placementRow(machine, session)
            placement.zone = zone
            try keep(placement, of: machine, session)
        }
    }

    // MARK: Commands

    private static func decodeCommand(_ row: SQLiteRow) throws -> MachineCommand {
        MachineCommand(
            id: try row.identifier(0), machine: try row.identifier(1), kind: row.text(2), owner: row.text(3),
            created: row.time(4))
    }

    package func add(_ command: MachineCommand) throws -> MachineCommand {
        try write { session in
            let waiting = try session.first(
                "SELECT id, machine, kind, owner, created FROM machine_command WHERE machine = $1 AND kind = $2",
                .id(command.machine), .text(command.kind), decode: Self.decodeCommand)
            if let waiting { return waiting }
            try session.run(
                "INSERT INTO machine_command (id, machine, kind, owner, created) VALUES ($1, $2, $3, $4, $5)",
                .id(command.id), .id(command.machine), .text(command.kind), .text(command.owner),
                .time(command.created))
            try session.run("UPDATE policy_epoch SET number = number + 1")
            return command
        }
    }

    package func commands(of machine: MachineID) throws -> [MachineCommand] {
        try read {
            try $0.all(
                """
                SELECT id, machine, kind, owner, created FROM machine_command WHERE machine = $1
                ORDER BY created, id
                """, .id(machine), decode: Self.decodeCommand)
        }
    }

    package func remove(commands: [CommandID], of machine: MachineID) throws {
        if commands.isEmpty { return }
        try write { session in
            for id in commands {
                try session.run("DELETE FROM machine_command WHERE id = $1 AND machine = $2", .id(id), .id(machine))
            }
        }
    }

    // MARK: Changes

    package func policyEpoch() throws -> Int64 {
        try read { try $0.first("SELECT number FROM policy_epoch") { $0.integer(0) } ?? 0 }
    }

    package func policyChanges(newest: Int) throws -> [PolicyChange] {
        try read {
            try $0.all(
                "SELECT time, author, body FROM policy_change ORDER BY number DESC LIMIT $1", .number(newest)
            ) { PolicyChange(time: $0.time(0), author: $0.text(1), text: $0.text(2)) }
        }
    }

    package func restore(_ changes: [PolicyChange]) throws {
        try write { session in
            for (index, change) in changes.reversed().enumerated() {
                try session.run(
                    """
                    INSERT INTO policy_change (number, time, author, body) VALUES ($1, $2, $3, $4)
                    ON CONFLICT (number) DO NOTHING
                    """, .number(index + 1), .time(change.time), .text(change.author), .text(change.text))
            }
        }
    }
}
