package import Model
import Vault

/// An error on the wire: a problem document (RFC 9457) with the code of `HoldfastError`.
package enum Problem {
    package static let contentType = "application/problem+json"
    /// More blobs than this are never named by one error.
    static let maximumBlobs = 12_000
    static let maximumContext = 32

    /// The status that goes with a code.
    package static func status(of error: HoldfastError) -> Int {
        switch error.code {
        case .usage: 400
        case .keyNeeded, .clockUnknown: 401
        case .denied, .wrongKey: 403
        case .notFound: 404
        case .exists, .missingBlobs, .headMoved, .leaseLost, .forbidden: 409
        case .condemned: 410
        case .tooLarge: 413
        case .damaged: 422
        case .overloaded: 429
        case .unsupported: 501
        case .busy: 503
        case .noSpace: 507
        default: 500
        }
    }

    /// The body. Causes stay behind: they are the server's own affair.
    package static func encode(_ error: HoldfastError) -> [UInt8] {
        var fields: [String: JSONValue] = [
            "type": .string("urn:holdfast:error:\(error.code)"), "code": .string(error.code.description),
            "detail": .string(error.message), "status": .integer(Int64(status(of: error))),
            "temporary": .bool(error.isTemporary),
        ]
        if !error.context.isEmpty { fields["context"] = .object(error.context.mapValues { .string($0) }) }
        if !error.blobs.isEmpty {
            fields["blobs"] = .array(error.blobs.prefix(maximumBlobs).map { .string($0.hex) })
        }
        return JSONValue.object(fields).encoded()
    }

    /// The error that a body describes; for a body that is none, one that says the status.
    package static func decode(_ body: [UInt8], status: Int) -> HoldfastError {
        guard let fields = try? JSONFields(parsing: body, document: "the server's answer"),
            let code = try? fields.string("code"), let message = try? fields.string("detail")
        else {
            return HoldfastError(
                .io, "The server answered with status \(status) and nothing that says why.",
                isTemporary: status == 429 || status >= 500)
        }
        var error = HoldfastError(HoldfastError.Code(code), message)
        if case .bool(let isTemporary) = fields.members["temporary"] { error.isTemporary = isTemporary }
        if case .object(let context) = fields.members["context"] {
            for (name, value) in context.prefix(maximumContext) {
                if case .string(let text) = value { error.context[name] = text }
            }
        }
        if fields.has("blobs"), let texts = try? fields.strings("blobs", atMost: maximumBlobs) {
            error.blobs = texts.compactMap { BlobID(hex: $0) }
        }
        return error
    }
}

extension HoldfastError.Code {
    /// The server has too much to do; later it may have time.
    package static let overloaded = HoldfastError.Code("overloaded")
    /// A request is longer than it may be.
    package static let tooLarge = HoldfastError.Code("too-large")
}
