import java.time.LocalDate;

import allocation.api.AllocationsApi;
import allocation.api.AllocationsApi.APIAllocateRequest;
import allocation.api.AllocationsApi.APICancelAllocationRequest;
import allocation.api.AllocationsApi.APIGetAllocationsRequest;
import allocation.api.BatchesApi;
import allocation.api.BatchesApi.APIChangeBatchRequest;
import allocation.api.BatchesApi.APICreateBatchRequest;
import allocation.client.ApiClient;
import allocation.client.ApiException;
import allocation.client.JSON;
import allocation.model.Allocate;
import allocation.model.AllocationPreview;
import allocation.model.BatchChanges;
import allocation.model.CreateBatch;
import allocation.model.IfUnavailable;
import allocation.model.Problem;

/** The README's story with the client of openapi-generator's library `native`, which is Java's own HTTP client. */
public final class Story {
    public static void main(String[] arguments) throws Exception {
        String sku = arguments[1], older = "older-" + sku, newer = "newer-" + sku, order = "order-" + sku;
        ApiClient client = new ApiClient();
        client.updateBaseUri(arguments[0]);
        BatchesApi batches = new BatchesApi(client);
        AllocationsApi allocations = new AllocationsApi(client);

        CreateBatch old = new CreateBatch().ref(older).sku(sku).qty(10).eta(LocalDate.of(2030, 1, 1));
        batches.createBatch(APICreateBatchRequest.newBuilder().createBatch(old).build());
        CreateBatch late = new CreateBatch().ref(newer).sku(sku).qty(10).eta(LocalDate.of(2030, 1, 2));
        batches.createBatch(APICreateBatchRequest.newBuilder().createBatch(late).idempotencyKey("key-" + sku).build());

        // The generated models send `if_unavailable` and `reallocate` with their defaults.
        Allocate line = new Allocate().orderId(order).sku(sku).qty(10);
        var allocated = allocations.allocate(APIAllocateRequest.newBuilder().allocate(line).build());
        // Jackson takes any answer for the first schema of `anyOf`. Without a dry run its `reason` is null.
        print("allocated", older.equals(allocated.getAllocationPreview().getBatchRef()));
        BatchChanges fewer = new BatchChanges().qty(5);
        var changed = batches.changeBatch(APIChangeBatchRequest.newBuilder().ref(older).batchChanges(fewer).build());
        print("moved", newer.equals(changed.getMoved().get(0).getToBatchRef()));

        Allocate large = new Allocate().orderId("large-" + sku).sku(sku).qty(50);
        var look = APIAllocateRequest.newBuilder().allocate(large).dryRun(true).build();
        AllocationPreview preview = allocations.allocate(look).getAllocationPreview();
        print("reason", preview.getReason().getValue());
        print("explained", !preview.getExplanation().isEmpty());
        large.ifUnavailable(IfUnavailable.REJECT);
        try {
            allocations.allocate(APIAllocateRequest.newBuilder().allocate(large).build());
            print("code", "none");
        } catch (ApiException refused) {
            Problem problem = JSON.getDefault().getMapper().readValue(refused.getResponseBody(), Problem.class);
            print("code", problem.getCode());
        }

        allocations.cancelAllocation(APICancelAllocationRequest.newBuilder().orderId(order).sku(sku).build());
        try {
            allocations.getAllocations(APIGetAllocationsRequest.newBuilder().orderId(order).build());
            print("cancelled", false);
        } catch (ApiException gone) {
            print("cancelled", gone.getCode() == 404);
        }
    }

    private static void print(String name, Object value) {
        System.out.println(name + " " + value);
    }
}
