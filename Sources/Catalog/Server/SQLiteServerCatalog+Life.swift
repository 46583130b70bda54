package import Model

/// Reports of machines, and alerts.
extension SQLiteServerCatalog {
    /// Alerts that are resolved and remembered.
    private static let maximumResolved = 2_000
    /// Messages that wait. Beyond it the oldest are given up: who is not reached for so long hears of what is new first.
    private static let maximumMessages = 1_000
    /// No message is put off for longer, in nanoseconds: one that is was put off by a clock that was ahead.
    private static let longestWait: Int64 = 2 * 3_600_000_000_000

    // MARK: Reports

    package func reports() throws -> [MachineID: KeptReport] {
        try read { session in
            let rows = try session.all("SELECT machine, received, report, trail FROM machine_report") { row in
                KeptReport(
                    machine: try row.identifier(0), received: row.time(1), report: row.bytes(2), trail: row.bytes(3))
            }
            return Dictionary(uniqueKeysWithValues: rows.map { ($0.machine, $0) })
        }
    }

    package func keep(_ reports: [KeptReport], seen: [MachineID: Timestamp]) throws {
        if reports.isEmpty, seen.isEmpty { return }
        try write { session in
            for report in reports {
                try session.run(
                    """
                    INSERT INTO machine_report (machine, received, report, trail)
                    SELECT id, $2, $3, $4 FROM machine WHERE id = $1
                    ON CONFLICT (machine) DO UPDATE SET received = excluded.received, report = excluded.report,
                        trail = excluded.trail
                    """, .id(report.machine), .time(report.received), .bytes(report.report), .bytes(report.trail))
            }
            for (machine, time) in seen {
                try session.run(
                    // Also backwards: the clock of this server may have been ahead.
                    "UPDATE machine SET last_seen = $2 WHERE id = $1", .id(machine), .time(time))
            }
        }
    }

    // MARK: Alerts

    private static let alertColumns = "number, kind, subject, machine, severity, body, state, raised, changed, by_whom"

    private static func decodeAlert(_ row: SQLiteRow) throws -> AlertRecord {
        AlertRecord(
            number: row.integer(0), kind: row.text(1), subject: row.text(2),
            machine: row.isNull(3) ? nil : try row.identifier(3), severity: try row.value(4), text: row.text(5),
            state: try row.value(6), raised: row.time(7), changed: row.time(8),
            by: row.isNull(9) ? nil : row.text(9))
    }

    package func add(_ alert: AlertRecord, tell targets: [String]) throws -> Int64? {
        try write { session in
            let machine: SQLValue = alert.machine.map { .id($0) } ?? .null
            let known = try session.first(
                """
                SELECT number FROM alert WHERE state <> 2 AND kind = $1 AND subject = $2
                    AND (machine = $3 OR (machine IS NULL AND $3 IS NULL))
                """, .text(alert.kind), .text(alert.subject), machine
            ) { $0.integer(0) }
            if known != nil { return nil }
            var added = alert
            added.number = try session.first("SELECT COALESCE(MAX(number), 0) + 1 FROM alert") { $0.integer(0) } ?? 1
            try session.run(
                """
                INSERT INTO alert (number, kind, subject, machine, severity, body, state, raised, changed, by_whom)
                VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
                """, .integer(added.number), .text(added.kind), .text(added.subject), machine,
                .number(Int(added.severity.rawValue)), .text(added.text), .number(Int(added.state.rawValue)),
                .time(added.raised), .time(added.changed), added.by.map { .text($0) } ?? .null)
            try tell(added, targets, session)
            return added.number
        }
    }

    package func update(_ alert: AlertRecord, tell targets: [String]) throws {
        try write { session in
            let count = try session.run(
                "UPDATE alert SET severity = $2, body = $3, state = $4, changed = $5, by_whom = $6 WHERE number = $1",
                .integer(alert.number), .number(Int(alert.severity.rawValue)), .text(alert.text),
                .number(Int(alert.state.rawValue)), .time(alert.changed), alert.by.map { .text($0) } ?? .null)
            guard count == 1 else {
                throw HoldfastError(.notFound, "There is no alert of this number.")
            }
            try tell(alert, targets, session)
            guard alert.state == .resolved else { return }
            try session.run(
                """
                DELETE FROM alert WHERE state = 2 AND number NOT IN
                    (SELECT number FROM alert WHERE state = 2 ORDER BY changed DESC, number DESC LIMIT $1)
                """, .number(Self.maximumResolved))
            try session.run("DELETE FROM alert_message WHERE alert NOT IN (SELECT number FROM alert)")
        }
    }

    private func tell(_ alert: AlertRecord, _ targets: [String], _ session: SQLiteSession) throws {
        for target in targets {
            try session.run(
                """
                INSERT INTO alert_message (id, alert, target, state, attempts, due)
                SELECT COALESCE(MAX(id), 0) + 1, $1, $2, $3, 0, $4 FROM alert_message
                """, .integer(alert.number), .text(target), .number(Int(alert.state.rawValue)), .time(alert.changed))
        }
        if targets.isEmpty { return }
        try session.run(
            "DELETE FROM alert_message WHERE id NOT IN (SELECT id FROM alert_message ORDER BY id DESC LIMIT $1)",
            .number(Self.maximumMessages))
    }

    package func alert(_ number: Int64) throws -> AlertRecord? {
        try read {
            try $0.first(
                SQLText("SELECT \(Self.alertColumns) FROM alert WHERE number = $1"), .integer(number),
                decode: Self.decodeAlert)
        }
    }

    package func alerts(resolved limit: Int) throws -> [AlertRecord] {
        try read { session in
            let open = try session.all(
                SQLText("SELECT \(Self.alertColumns) FROM alert WHERE state <> 2 ORDER BY number DESC"),
                decode: Self.decodeAlert)
            if limit <= 0 { return open }
            return open
                + (try session.all(
                    SQLText(
                        "SELECT \(Self.alertColumns) FROM alert WHERE state = 2 ORDER BY changed DESC, number DESC LIMIT $1"
                    ), .number(limit), decode: Self.decodeAlert))
        }
    }

    // MARK: Messages

    package func messages(due now: Timestamp, limit: Int) throws -> (due: [AlertMessage], next: Timestamp?) {
        try read { session in
            struct Row {
                var id: Int64
                var alert: Int64
                var target: String
                var state: AlertRecord.State
                var attempts: Int
            }
            let rows = try session.all(
                """
                SELECT id, alert, target, state, attempts FROM alert_message WHERE due <= $1 OR due > $3 ORDER BY due, id
                LIMIT $2
                """, .time(now), .number(limit), .time(now.advanced(by: Self.longestWait))
            ) { row in
                Row(
                    id: row.integer(0), alert: row.integer(1), target: row.text(2), state: try row.value(3),
                    attempts: Int(row.integer(4)))
            }
            let due = try rows.compactMap { row -> AlertMessage? in
                let alert = try session.first(
                    SQLText("SELECT \(Self.alertColumns) FROM alert WHERE number = $1"), .integer(row.alert),
                    decode: Self.decodeAlert)
                return alert.map {
                    AlertMessage(
                        id: row.id, alert: $0, target: row.target, state: row.state, attempts: row.attempts)
                }
            }
            let next = try session.first("SELECT MIN(due) FROM alert_message") { $0.isNull(0) ? nil : $0.time(0) }
            return (due: due, next: next ?? nil)
        }
    }

    package func remove(message: Int64) throws {
        try write { _ = try $0.run("DELETE FROM alert_message WHERE id = $1", .integer(message)) }
    }

    package func postpone(message: Int64, attempts: Int, until: Timestamp) throws {
        try write {
            _ = try $0.run(
                "UPDATE alert_message SET attempts = $2, due = $3 WHERE id = $1", .integer(message),
                .number(attempts), .time(until))
        }
    }

    package func messageCount() throws -> Int {
        try read { try $0.first("SELECT COUNT(*) FROM alert_message") { Int($0.integer(0)) } ?? 0 }
    }
}
