import ca.uhn.fhir.batch2.jobs.config.Batch2JobsConfig;
import ca.uhn.fhir.context.FhirContext;
import ca.uhn.fhir.context.support.IValidationSupport;
import ca.uhn.fhir.jpa.api.config.JpaStorageSettings;
import ca.uhn.fhir.jpa.api.config.ThreadPoolFactoryConfig;
import ca.uhn.fhir.jpa.api.dao.IFhirSystemDao;
import ca.uhn.fhir.jpa.batch2.JpaBatch2Config;
import ca.uhn.fhir.jpa.config.HapiJpaConfig;
import ca.uhn.fhir.jpa.config.r4.JpaR4Config;
import ca.uhn.fhir.jpa.config.r5.JpaR5Config;
import ca.uhn.fhir.jpa.config.util.HapiEntityManagerFactoryUtil;
import ca.uhn.fhir.jpa.model.config.PartitionSettings;
import ca.uhn.fhir.jpa.model.config.SubscriptionSettings;
import ca.uhn.fhir.jpa.provider.JpaCapabilityStatementProvider;
import ca.uhn.fhir.jpa.provider.JpaSystemProvider;
import ca.uhn.fhir.jpa.search.DatabaseBackedPagingProvider;
import ca.uhn.fhir.jpa.subscription.channel.config.SubscriptionChannelConfig;
import ca.uhn.fhir.rest.server.RestfulServer;
import ca.uhn.fhir.rest.server.interceptor.RequestValidatingInterceptor;
import ca.uhn.fhir.rest.server.provider.ResourceProviderFactory;
import ca.uhn.fhir.rest.server.util.ISearchParamRegistry;
import ca.uhn.fhir.validation.IInstanceValidatorModule;
import jakarta.persistence.EntityManagerFactory;
import java.net.InetSocketAddress;
import java.util.Properties;
import javax.sql.DataSource;
import org.eclipse.jetty.ee10.servlet.ServletContextHandler;
import org.eclipse.jetty.ee10.servlet.ServletHolder;
import org.eclipse.jetty.server.Server;
import org.eclipse.jetty.server.ServerConnector;
import org.h2.jdbcx.JdbcConnectionPool;
import org.springframework.beans.factory.config.ConfigurableListableBeanFactory;
import org.springframework.context.annotation.AnnotationConfigApplicationContext;
import org.springframework.context.annotation.Bean;
import org.springframework.context.annotation.Configuration;
import org.springframework.context.annotation.Import;
import org.springframework.orm.jpa.JpaTransactionManager;
import org.springframework.orm.jpa.LocalContainerEntityManagerFactoryBean;

/**
 * HAPI FHIR with its JPA store on H2 in memory, on a free port of the loopback interface.
 *
 * <p>Prints {@code {"port": n}} when it answers, and ends when its standard input does. The one
 * argument is the release, {@code r4} or {@code r5}.
 */
public final class HapiServer {
  private HapiServer() {}

  public static void main(String[] arguments) throws Exception {
    boolean r5 = arguments.length > 0 && arguments[0].equals("r5");
    AnnotationConfigApplicationContext context =
        new AnnotationConfigApplicationContext(r5 ? R5.class : R4.class);
    Server server = new Server(new InetSocketAddress("127.0.0.1", 0));
    ServletContextHandler handler = new ServletContextHandler();
    handler.addServlet(new ServletHolder(context.getBean(RestfulServer.class)), "/fhir/*");
    server.setHandler(handler);
    server.start();
    System.out.println("{\"port\": " + ((ServerConnector) server.getConnectors()[0]).getLocalPort() + "}");
    while (System.in.read() >= 0) {}
    Runtime.getRuntime().halt(0);
  }

  @Configuration
  @Import({JpaR4Config.class, Shared.class})
  static class R4 {}

  @Configuration
  @Import({JpaR5Config.class, Shared.class})
  static class R5 {}

  @Configuration
  @Import({
    HapiJpaConfig.class,
    JpaBatch2Config.class,
    Batch2JobsConfig.class,
    SubscriptionChannelConfig.class,
    ThreadPoolFactoryConfig.class
  })
  static class Shared {
    @Bean
    JpaStorageSettings storageSettings() {
      JpaStorageSettings settings = new JpaStorageSettings();
      settings.setAllowContainsSearches(false);
      settings.setEnforceReferentialIntegrityOnWrite(true);
      return settings;
    }

    @Bean
    PartitionSettings partitionSettings() {
      return new PartitionSettings();
    }

    @Bean
    SubscriptionSettings subscriptionSettings() {
      return new SubscriptionSettings();
    }

    @Bean
    DataSource dataSource() {
      return JdbcConnectionPool.create("jdbc:h2:mem:hapi;DB_CLOSE_DELAY=-1", "sa", "");
    }

    @Bean
    LocalContainerEntityManagerFactoryBean entityManagerFactory(
        DataSource source,
        ConfigurableListableBeanFactory beans,
        FhirContext fhir,
        JpaStorageSettings settings) {
      LocalContainerEntityManagerFactoryBean factory =
          HapiEntityManagerFactoryUtil.newEntityManagerFactory(beans, fhir, settings);
      factory.setPersistenceUnitName("HAPI_PU");
      factory.setDataSource(source);
      Properties jpa = new Properties();
      jpa.put("hibernate.dialect", "ca.uhn.fhir.jpa.model.dialect.HapiFhirH2Dialect");
      jpa.put("hibernate.hbm2ddl.auto", "create");
      jpa.put("hibernate.search.enabled", "false");
      factory.setJpaProperties(jpa);
      return factory;
    }

    @Bean
    JpaTransactionManager transactionManager(EntityManagerFactory factory) {
      return new JpaTransactionManager(factory);
    }

    @Bean
    RestfulServer restfulServer(
        FhirContext fhir,
        IFhirSystemDao<?, ?> dao,
        JpaSystemProvider<?, ?> system,
        ResourceProviderFactory resources,
        JpaStorageSettings settings,
        ISearchParamRegistry searches,
        IValidationSupport support,
        IInstanceValidatorModule validator,
        DatabaseBackedPagingProvider paging) {
      RestfulServer server = new RestfulServer(fhir);
      server.registerProviders(resources.createProviders());
      server.registerProvider(system);
      server.setPagingProvider(paging);
      server.setServerConformanceProvider(
          new JpaCapabilityStatementProvider(server, dao, settings, searches, support));
      RequestValidatingInterceptor refusing = new RequestValidatingInterceptor();
      refusing.addValidatorModule(validator);
      server.registerInterceptor(refusing);
      return server;
    }
  }
}
