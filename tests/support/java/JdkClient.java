import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse;
import java.net.http.HttpResponse.BodyHandlers;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CompletableFuture;

/**
 * Calls the service with the JDK's own client as it is: HTTP/2 is preferred, so the first request of each connection
 * over plain HTTP offers `Upgrade: h2c`. Arguments: the URL of the service, and a prefix for references.
 */
public final class JdkClient {
    private static final int CONCURRENT = 20;

    private final HttpClient client = HttpClient.newHttpClient();
    private final String url;

    private JdkClient(String url) {
        this.url = url;
    }

    public static void main(String[] arguments) throws Exception {
        new JdkClient(arguments[0]).run(arguments[1]);
        System.out.println("done");
    }

    private void run(String prefix) throws Exception {
        String sku = prefix + "-sku", batch = "/v1/batches/" + prefix;
        String line = "/v1/allocations/" + prefix + "-order/" + sku;
        for (int round = 0; round < 2; round++) {
            int created = round == 0 ? 201 : 200;
            send("POST", "/v1/batches", batchOf(prefix, sku, 100), created);
        }
        send("PATCH", batch, "{\"qty\":90}", 200);
        send("POST", "/v1/allocations", "{\"order_id\":\"" + prefix + "-order\",\"sku\":\"" + sku + "\",\"qty\":4}", 201);
        expect(send("GET", batch, null, 200), "\"allocated_qty\":4");
        send("DELETE", line, null, 204);
        expect(send("GET", batch, null, 200), "\"allocated_qty\":0");
        send("HEAD", batch, null, 200);
        expect(send("GET", batch, null, 200), "\"qty\":90");

        List<CompletableFuture<HttpResponse<String>>> answers = new ArrayList<>();
        for (int number = 0; number < CONCURRENT; number++) {
            String body = batchOf(prefix + "-" + number, sku, 1);
            answers.add(client.sendAsync(request("POST", "/v1/batches", body), BodyHandlers.ofString()));
        }
        for (CompletableFuture<HttpResponse<String>> answer : answers) {
            check(answer.get(), 201);
        }
    }

    private static String batchOf(String ref, String sku, int qty) {
        return "{\"ref\":\"" + ref + "\",\"sku\":\"" + sku + "\",\"qty\":" + qty + "}";
    }

    private HttpRequest request(String method, String path, String body) {
        return HttpRequest.newBuilder(URI.create(url + path))
                .timeout(Duration.ofSeconds(20))
                .header("Content-Type", "application/json")
                .method(method, body == null ? BodyPublishers.noBody() : BodyPublishers.ofString(body))
                .build();
    }

    private String send(String method, String path, String body, int status) throws Exception {
        return check(client.send(request(method, path, body), BodyHandlers.ofString()), status);
    }

    private static String check(HttpResponse<String> answer, int status) {
        if (answer.statusCode() != status) {
            String what = answer.request().method() + " " + answer.request().uri();
            throw new AssertionError(what + ": " + answer.statusCode() + " " + answer.body());
        }
        return answer.body();
    }

    private static void expect(String body, String part) {
        if (!body.contains(part)) {
            throw new AssertionError("expected " + part + " in " + body);
        }
    }
}
