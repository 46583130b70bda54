package import Model

/// What a server keeps of its machines' lives: what each said last, and alerts. Part of `ServerCatalog`; every method is one
/// transaction. None of it is put into safety with the server's own state: it comes anew with the machines' next reports.
package protocol LifeCatalog: AnyObject, Sendable {
    // MARK: Reports

    /// What machines said last.
    func reports() throws -> [MachineID: KeptReport]
    /// Keeps what machines said, and notes when they were heard of, all at once. Machines that are unknown are passed over.
    func keep(_ reports: [KeptReport], seen: [MachineID: Timestamp]) throws

    // MARK: Alerts

    /// Adds an alert and answers its number. Of one kind and subject there is at most one that is not resolved: `nil` when
    /// there is one already.
    ///
    /// - Parameter targets: whom to tell of it.
    func add(_ alert: AlertRecord, tell targets: [String]) throws -> Int64?
    /// Replaces an alert by its number. Throws `notFound`.
    func update(_ alert: AlertRecord, tell targets: [String]) throws
    func alert(_ number: Int64) throws -> AlertRecord?
    /// Those that are not resolved, and the newest so many of those that are; newest first.
    func alerts(resolved limit: Int) throws -> [AlertRecord]

    // MARK: Messages about alerts

    /// Messages that are due, oldest first, at most `limit`; and when the next is.
    func messages(due now: Timestamp, limit: Int) throws -> (due: [AlertMessage], next: Timestamp?)
    /// Notes that a message was delivered, or given up.
    func remove(message: Int64) throws
    /// Notes that a message was not delivered and is to be tried again.
    func postpone(message: Int64, attempts: Int, until: Timestamp) throws
    /// Messages that wait.
    func messageCount() throws -> Int
}

/// What a machine said last.
package struct KeptReport: Hashable, Sendable {
    package let machine: MachineID
    /// By the server's clock.
    package var received: Timestamp
    /// As it came.
    package var report: [UInt8]
    /// What the server remembers of the reports before it, in its own words.
    package var trail: [UInt8]

    package init(machine: MachineID, received: Timestamp, report: [UInt8], trail: [UInt8]) {
        self.machine = machine
        self.received = received
        self.report = report
        self.trail = trail
    }
}

/// Something that somebody should know of.
package struct AlertRecord: Hashable, Sendable {
    package enum State: UInt8, Sendable, CaseIterable {
        case open = 0
        /// Somebody has seen it; it still holds.
        case acknowledged = 1
        /// It does not hold any more.
        case resolved = 2
    }

    package enum Severity: UInt8, Comparable, Sendable, CaseIterable {
        case warning = 0
        case critical = 1
        package static func < (a: Severity, b: Severity) -> Bool { a.rawValue < b.rawValue }
    }

    /// Given by the catalog, from 1 on.
    package var number: Int64
    package let kind: String
    /// What it is about beside a machine: empty, or a name that tells it from others of its kind.
    package let subject: String
    package let machine: MachineID?
    package var severity: Severity
    /// A sentence for people that says what to do.
    package var text: String
    package var state: State
    package let raised: Timestamp
    /// When its state changed last.
    package var changed: Timestamp
    /// Who acknowledged or resolved it.
    package var by: String?

    package init(
        number: Int64 = 0, kind: String, subject: String = "", machine: MachineID?, severity: Severity, text: String,
        state: State = .open, raised: Timestamp, changed: Timestamp, by: String? = nil
    ) {
        self.number = number
        self.kind = kind
        self.subject = subject
        self.machine = machine
        self.severity = severity
        self.text = text
        self.state = state
        self.raised = raised
        self.changed = changed
        self.by = by
    }
}

/// A message about an alert that waits to be delivered.
package struct AlertMessage: Hashable, Sendable {
    package let id: Int64
    package let alert: AlertRecord
    /// Whom it goes to, in the words of the settings.
    package let target: String
    /// What it tells: that the alert was raised, or that it is resolved.
    package let state: AlertRecord.State
    package let attempts: Int
}

/// The step of the schema.
extension ServerSchema {
    static let life: [SQLText] = [
        """
        CREATE TABLE machine_report (
            machine BLOB PRIMARY KEY,
            received INTEGER NOT NULL,
            report BLOB NOT NULL,
            trail BLOB NOT NULL
        )
        """,
        """
        CREATE TABLE alert (
            number INTEGER PRIMARY KEY,
            kind TEXT NOT NULL,
            subject TEXT NOT NULL,
            machine BLOB,
            severity INTEGER NOT NULL,
            body TEXT NOT NULL,
            state INTEGER NOT NULL,
            raised INTEGER NOT NULL,
            changed INTEGER NOT NULL,
            by_whom TEXT
        )
        """,
        "CREATE INDEX alert_state ON alert (state, changed)",
        """
        CREATE TABLE alert_message (
            id INTEGER PRIMARY KEY,
            alert INTEGER NOT NULL,
            target TEXT NOT NULL,
            state INTEGER NOT NULL,
            attempts INTEGER NOT NULL,
            due INTEGER NOT NULL
        )
        """,
        "CREATE INDEX alert_message_due ON alert_message (due)",
    ]
}
