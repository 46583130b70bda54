import Model

/// One thing that can be asked of the server: the route, who may, what it takes and answers, and what is done.
///
/// Routes and their description for others (`OpenAPI`) come from the same list, so neither can be without the other.
package struct Operation: Sendable {
    package enum Access: Hashable, Sendable {
        /// Anybody.
        case open
        /// A machine, or a person of any role. The operation itself looks at whose things are asked for.
        case signedIn
        /// A machine only.
        case machine
        /// A machine, or a person with this right.
        case machineOr(AccountRight)
        /// A person with this right.
        case person(AccountRight)
        /// A person with one of these rights.
        case personWithAny([AccountRight])
        /// Somebody with an account, by a token of it.
        case account

        /// Throws unless `principal` may ask at all. What comes with a body says so here: nobody who will be refused makes the
        /// server take one in.
        func require(_ principal: Principal) throws {
            switch (self, principal) {
            case (.open, _): return
            case (_, .anonymous): throw HoldfastError(.keyNeeded, "sign in first")
            case (.signedIn, _), (.machine, .machine), (.machineOr, .machine): return
            case (.machineOr(let right), .person(let person)) where person.may(right): return
            case (.person(let right), .person(let person)) where person.may(right): return
            case (.personWithAny(let rights), .person(let person)) where rights.contains(where: person.may): return
            case (.account, .person(let person)) where person.account != nil: return
            case (.machine, _): throw HoldfastError(.denied, "only a machine that is enrolled may do this")
            case (.machineOr, _), (.person, _), (.personWithAny, _), (.account, _): throw ServerCore.notForYou
            }
        }
    }

    package enum Body: Hashable, Sendable {
        case none
        /// A JSON object, described by the schema of that name.
        case json(String)
        /// Bytes, with what they are.
        case binary(String)
        /// Text for another program.
        case text(String)
        /// JSON objects, one a line, described by the schema of that name.
        case lines(String)
    }

    package var method: String
    /// With `{name}` where a value stands.
    package var path: String
    package var summary: String
    package var tag: String
    package var access: Access
    /// Names and meanings of what can stand in the query.
    package var query: [(name: String, meaning: String)]
    /// Those of them that must be there.
    package var requiredQuery: Set<String> { Set(query.map(\.name)).intersection(["lease"]) }
    package var request: Body
    package var response: Body
    /// Status of a success.
    package var status: Int
    /// Statuses of failures that this operation gives a meaning to.
    package var failures: [(status: Int, meaning: String)]
    /// Longest body in bytes.
    package var maximumBody: Int
    /// A page of the console: what goes wrong is told as a page.
    package var isPage: Bool { tag == Self.pageTag }
    package static let pageTag = "console"
    /// Takes a secret in its body that somebody could try to guess.
    package var isGuessable = false
    package var run: @Sendable (ServerCore, ServerRequest) throws -> ServerAnswer

    package init(
        _ method: String, _ path: String, _ summary: String, tag: String, access: Access = .signedIn,
        query: [(name: String, meaning: String)] = [], request: Body = .none, response: Body = .none, status: Int = 200,
        failures: [(status: Int, meaning: String)] = [], maximumBody: Int = 1 << 20, isGuessable: Bool = false,
        run: @escaping @Sendable (ServerCore, ServerRequest) throws -> ServerAnswer
    ) {
        self.method = method
        self.path = path
        self.summary = summary
        self.tag = tag
        self.access = access
        self.query = query
        self.request = request
        self.response = response
        self.status = status
        self.failures = failures
        self.maximumBody = maximumBody
        self.isGuessable = isGuessable
        self.run = run
    }

    /// Everything there is, in the order in which it is described.
    package static let all: [Operation] =
        IdentityOperations.all + InstallOperations.all + EnrolmentOperations.all + VaultOperations.all
        + MachineOperations.all
        + AdministrationOperations.all + JobOperations.all + StatusOperations.all + AlertOperations.all
        + PolicyOperations.all + FileOperations.all + AccountOperations.all + OwnOperations.all + AuditOperations.all
        + EnrolmentCodeOperations.all + SettingsOperations.all + RestoreOperations.all + ReportOperations.all
}

/// Thrown by an operation that was asked to wait and has nothing to tell yet: it is called again soon, without holding a
/// thread meanwhile.
struct NotYet: Error {
    /// Whoever changes what is waited for rings the bell; else it is looked at again and again.
    var isRung = false
}
