import Catalog
import Client
package import Model
import Vault

/// Who a request comes from, after its signature or token was checked.
package enum Principal: Hashable, Sendable {
    case anonymous
    case machine(MachineID)
    /// Somebody with an access code, or with a token of an account.
    case person(Person)
}

/// A request with its body, as the operations see it.
package struct ServerRequest: Sendable {
    package var method: String
    package var path: String
    /// What stood in the place of `{name}` in the operation's path.
    package var parameters: [String: String]
    package var query: [String: String]
    package var body: [UInt8]
    package var principal: Principal
    /// Path and query as they were sent.
    package var target = ""
    /// Where it comes from: what `ClientAddress` makes of it.
    package var address = ""
    /// The name by which it reached this server, with the port: what it says itself.
    package var host = ""
    /// What it says that it is.
    package var browser = ""
    /// `Sec-Fetch-Site`; `nil` from what is no browser.
    package var fetchSite: String?
    /// A page that stays open asks for itself anew: nobody may be there.
    package var isRefresh = false
    /// The `Cookie` header.
    package var cookies = ""
    /// The time to wait is over: what there is is answered.
    var isLastLook = false

    /// The person that asks. Throws `keyNeeded` when nobody has signed in, and `denied` for a machine.
    package func person() throws -> Person {
        switch principal {
        case .person(let person): return person
        case .machine: throw ServerCore.notForYou
        case .anonymous: throw HoldfastError(.keyNeeded, "sign in first")
        }
    }

    /// The query's fields as bytes: names of files are no text.
    package var fields: FormFields {
        let parts = target.split(separator: "?", maxSplits: 1)
        return FormFields(parts.count > 1 ? String(parts[1]) : "")
    }

    /// A cookie that came with it.
    package func cookie(_ name: String) -> String? {
        for part in cookies.split(separator: ";") {
            let pair = part.drop { $0 == " " }.split(separator: "=", maxSplits: 1)
            if pair.count == 2, pair[0] == name { return String(pair[1]) }
        }
        return nil
    }

    /// An identifier in the path or the query. Throws `usage`.
    func id<ID: RandomIdentifier>(_ name: String, as: ID.Type = ID.self) throws -> ID {
        guard let text = parameters[name] ?? query[name], let id = ID(hex: text) else {
            throw HoldfastError(.usage, "\(name) is missing or not an identifier")
        }
        return id
    }

    func optionalID<ID: RandomIdentifier>(_ name: String, as: ID.Type = ID.self) throws -> ID? {
        query[name] == nil ? nil : try id(name)
    }

    func number(_ name: String, in range: ClosedRange<Int>) throws -> Int? {
        guard let text = query[name] else { return nil }
        guard let number = Int(text), range.contains(number) else {
            throw HoldfastError(
                .usage, "\(name) must be a number from \(range.lowerBound) to \(range.upperBound)")
        }
        return number
    }

    /// The machine that asks. Throws `denied` for anybody else.
    func machine() throws -> MachineID {
        guard case .machine(let id) = principal else {
            throw HoldfastError(.denied, "only a machine that is enrolled may do this")
        }
        return id
    }
}

/// What an operation answers.
package struct ServerAnswer: Sendable {
    package var status = 200
    package var contentType = "application/json"
    package var body: [UInt8] = []
    package var headers: [(String, String)] = []
    /// A file instead of the bytes, with what is given back when it was sent.
    var file: (body: FileBody, place: Admission.Place)?
    /// A body that is made while it is sent, instead of `body`.
    package var stream: Stream?
    /// What is told as it happens, instead of `body`.
    package var events: Events?
    /// A secret was presented that does not hold: its address is bounded like those of others who guess.
    package var isFailedGuess = false

    /// A long body. It is made on a thread of its own, which waits for whoever reads.
    package struct Stream: Sendable {
        /// Its length, where that is known beforehand.
        package var length: UInt64?
        /// Held until it is made.
        package var place: Turnstile.Place
        /// Gives the body piece by piece. What it throws cuts the answer short, which who reads can tell.
        package var body: @Sendable (_ write: @escaping (UnsafeRawBufferPointer) throws -> Void) throws -> Void

        package init(
            length: UInt64?, place: Turnstile.Place,
            _ body: @escaping @Sendable (_ write: @escaping (UnsafeRawBufferPointer) throws -> Void) throws -> Void
        ) {
            self.length = length
            self.place = place
            self.body = body
        }
    }

    /// Server-sent events. No thread waits for the next.
    package struct Events: Sendable {
        /// What is to be said now, looked for every second; empty for nothing, `nil` at the end.
        package var next: @Sendable () -> String?
        /// Held until who listens has gone.
        package var place: Turnstile.Place

        package init(place: Turnstile.Place, _ next: @escaping @Sendable () -> String?) {
            self.place = place
            self.next = next
        }
    }

    package init(
        status: Int = 200, contentType: String = "application/json", body: [UInt8] = [],
        headers: [(String, String)] = []
    ) {
        self.status = status
        self.contentType = contentType
        self.body = body
        self.headers = headers
    }

    init(contentType: String, file: FileBody, place: Admission.Place) {
        self.contentType = contentType
        self.file = (file, place)
    }

    static func json(_ body: [UInt8]) -> ServerAnswer { ServerAnswer(body: body) }
    static func binary(_ body: [UInt8]) -> ServerAnswer {
        ServerAnswer(contentType: "application/octet-stream", body: body)
    }
    static let nothing = ServerAnswer(status: 204)
}
