import Model
import Vault

/// The description of the protocol for others, as OpenAPI 3.1, made from the operations themselves.
enum OpenAPI {
    static func document(_ operations: [Operation]) -> [UInt8] {
        var paths: [String: [String: JSONValue]] = [:]
        for operation in operations {
            paths[operation.path, default: [:]][operation.method.lowercased()] = describe(operation)
        }
        return JSONValue.object([
            "openapi": .string("3.1.0"),
            "info": .object([
                "title": .string("Holdfast server"), "version": .string(ProgramVersion.current),
                "description": .string(
                    "Every answer is signed with the server's identity key: see the headers Holdfast-Signature and "
                        + "Holdfast-Time. Every request can be repeated without harm."),
            ]),
            "paths": .object(paths.mapValues { .object($0) }),
            "components": .object([
                "securitySchemes": .object([
                    "machine": .object([
                        "type": .string("http"), "scheme": .string("bearer"), "bearerFormat": .string("JWT"),
                        "description": .string(
                            "A token for one request, signed with the machine's Ed25519 key: claims iss (machine), aud (server), "
                                + "iat, exp, jti (nonce), method, target, body (SHA-256)."),
                    ]),
                    "token": .object([
                        "type": .string("http"), "scheme": .string("bearer"),
                        "description": .string(
                            "A token of an account, or an access code of `holdfast server access`: a word that begins with hfa_."
                        ),
                    ]),
                ]), "schemas": .object(OpenAPISchemas.everything),
            ]),
        ]).encoded()
    }

    private static func describe(_ operation: Operation) -> JSONValue {
        var fields: [String: JSONValue] = [
            "summary": .string(operation.summary), "tags": .array([.string(operation.tag)]),
            "operationId": .string(identifier(operation)),
        ]
        var parameters: [JSONValue] = names(in: operation.path).map { name in
            .object([
                "name": .string(name), "in": .string("path"), "required": .bool(true),
                "schema": .object(["type": .string("string")]),
            ])
        }
        parameters += operation.query.map { name, meaning in
            .object([
                "name": .string(name), "in": .string("query"),
                "required": .bool(operation.requiredQuery.contains(name)),
                "description": .string(meaning), "schema": .object(["type": .string("string")]),
            ])
        }
        if !parameters.isEmpty { fields["parameters"] = .array(parameters) }
        if let content = content(operation.request) {
            fields["requestBody"] = .object(["required": .bool(true), "content": content])
        }
        var success: [String: JSONValue] = ["description": .string("Done.")]
        if let content = content(operation.response) { success["content"] = content }
        var responses: [String: JSONValue] = [String(operation.status): .object(success)]
        var meanings: [Int: [String]] = [:]
        for failure in operation.failures { meanings[failure.status, default: []].append(failure.meaning) }
        if operation.access != .open {
            meanings[403, default: []].append("The signature or token does not hold, or does not allow this.")
        }
        for (status, texts) in meanings {
            responses[String(status)] = problem(texts.joined(separator: " "))
        }
        responses["default"] = problem("Any other failure.")
        fields["responses"] = .object(responses)
        switch operation.access {
        case .open: fields["security"] = .array([])
        case .machine: fields["security"] = .array([.object(["machine": .array([])])])
        case .person, .personWithAny, .account: fields["security"] = .array([.object(["token": .array([])])])
        case .signedIn, .machineOr:
            fields["security"] = .array([.object(["machine": .array([])]), .object(["token": .array([])])])
        }
        return .object(fields)
    }

    private static func problem(_ text: String) -> JSONValue {
        .object([
            "description": .string(text),
            "content": .object([
                "application/problem+json": .object([
                    "schema": .object(["$ref": .string("#/components/schemas/Problem")])
                ])
            ]),
        ])
    }

    private static func content(_ body: Operation.Body) -> JSONValue? {
        switch body {
        case .none: return nil
        case .json("OpenAPI"):
            return .object(["application/json": .object(["schema": .object(["type": .string("object")])])])
        case .json(let name):
            return .object([
                "application/json": .object([
                    "schema": .object(["$ref": .string("#/components/schemas/\(name)")])
                ])
            ])
        case .text:
            return .object(["text/plain": .object(["schema": .object(["type": .string("string")])])])
        case .lines(let name):
            return .object([
                "application/x-ndjson": .object([
                    "schema": .object(["$ref": .string("#/components/schemas/\(name)")])
                ])
            ])
        case .binary(let text):
            return .object([
                "application/octet-stream": .object([
                    "schema": .object([
                        "type": .string("string"), "format": .string("binary"), "description": .string(text),
                    ])
                ])
            ])
        }
    }

    /// The names in braces, in order.
    static func names(in path: String) -> [String] {
        path.split(separator: "/").filter { $0.hasPrefix("{") && $0.hasSuffix("}") }.map {
            String($0.dropFirst().dropLast())
        }
    }

    private static func identifier(_ operation: Operation) -> String {
        let words = operation.path.split(separator: "/").filter { !["api", "v1"].contains($0) }.map { part in
            String(part.filter { $0.isLetter })
        }
        return operation.method.lowercased() + words.map { $0.prefix(1).uppercased() + $0.dropFirst() }.joined()
    }
}
