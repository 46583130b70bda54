import Client
import Foundation
import Model
import Server
import Testing

@Suite("The description of the protocol", .serialized)
struct OpenAPITests {
    @Test("it describes every operation that is served, with its parameters, and no other")
    func matchesRoutes() async throws {
        let server = try await ServerFixture.start()
        let body = try await ServerFixture.blocking {
            try RawClient(server).send("GET", "/api/openapi.json", as: .nobody).body
        }
        let document = try #require(try JSONSerialization.jsonObject(with: Data(body)) as? [String: Any])
        let paths = try #require(document["paths"] as? [String: [String: [String: Any]]])
        var described: Set<String> = []
        for (path, methods) in paths {
            for (method, operation) in methods {
                let name = "\(method.uppercased()) \(path)"
                described.insert(name)
                let parameters = operation["parameters"] as? [[String: Any]] ?? []
                let inPath = Set(
                    parameters.filter { $0["in"] as? String == "path" }.compactMap { $0["name"] as? String })
                let named = path.split(separator: "/").filter { $0.hasPrefix("{") }.map {
                    String($0.dropFirst().dropLast())
                }
                #expect(inPath == Set(named), "\(name)")
                let known = try #require(Operation.all.first { "\($0.method) \($0.path)" == name })
                let query = parameters.filter { $0["in"] as? String == "query" }
                #expect(Set(query.compactMap { $0["name"] as? String }) == Set(known.query.map(\.name)), "\(name)")
                let required = query.filter { $0["required"] as? Bool == true }.compactMap { $0["name"] as? String }
                #expect(Set(required) == known.requiredQuery, "\(name)")
                #expect((operation["responses"] as? [String: Any])?["\(known.status)"] != nil, "\(name)")
                #expect((operation["requestBody"] != nil) == (known.request != .none), "\(name)")
            }
        }
        #expect(described == Set(Operation.all.map { "\($0.method) \($0.path)" }))
        // And the routes are there: each answers something else than that there is nothing.
        try await ServerFixture.blocking {
            let client = try RawClient(server)
            for operation in Operation.all where operation.path != "/health" {
                let target = operation.path.replacing("{package}", with: ServerFixture.program)
                    .replacing("{", with: "x").replacing("}", with: "x")
                #expect(try client.send(operation.method, target, as: .nobody).status != 404, "\(operation.path)")
            }
            let nothing = try client.send("GET", "/api/v1/nothing", as: .nobody)
            #expect(nothing.status == 404, "and also that there is nothing is signed")
        }
    }

    private static let validator: String? = {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        process.arguments = ["python3", "-c", "import openapi_spec_validator"]
        process.standardError = FileHandle.nullDevice
        guard (try? process.run()) != nil else { return nil }
        process.waitUntilExit()
        return process.terminationStatus == 0 ? "python3" : nil
    }()

    @Test("a validator of others finds nothing wrong with it", .enabled(if: validator != nil))
    func isValid() async throws {
        let server = try await ServerFixture.start()
        let body = try await ServerFixture.blocking {
            try RawClient(server).send("GET", "/api/openapi.json", as: .nobody).body
        }
        let file = URL(fileURLWithPath: NSTemporaryDirectory() + "openapi-\(UUID().uuidString).json")
        try Data(body).write(to: file)
        defer { try? FileManager.default.removeItem(at: file) }
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        process.arguments = [
            "python3", "-c",
            "import json,sys\nfrom openapi_spec_validator import validate\nvalidate(json.load(open(sys.argv[1])))",
            file.path,
        ]
        let pipe = Pipe()
        process.standardError = pipe
        try process.run()
        let output = pipe.fileHandleForReading.readDataToEndOfFile()
        process.waitUntilExit()
        #expect(process.terminationStatus == 0, "\(String(decoding: output.suffix(2_000), as: UTF8.self))")
    }
}
